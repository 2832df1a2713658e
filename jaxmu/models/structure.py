"""What each leaf of a parameter tree is: convolution, linear layer, norm, stem, head, block number.

Masks, freezing and resets are trees made from these descriptions. The rules look at the form of the
tree and at linen's own leaf names (kernel, bias, scale), so that they hold for a user's network
too; only block numbers follow a naming convention (`block_id`). All functions take the parameters
of ONE model.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxmu.errors import ModelError

Path = tuple[str, ...]
PyTree = Any


@dataclass(frozen=True)
class Leaf:
  """Describe one parameter leaf; not a pytree, so it can be a leaf of a tree itself.

  `kind`: "conv" (kernel [h, w, I/g, O]), "linear_w" ([I, O]), "linear_b", "norm" (scale or bias),
  "attn_bias" ([heads, offsets]) or "other". `block`: 1, 2, ... for the blocks that "the last k"
  counts, 0 for what lies before and between them, None for the head and for networks without block
  names.
  """

  path: Path
  kind: str
  stem: bool = False
  head: bool = False
  block: int | None = None


def block_id(path: Path) -> int | None:
  """Read a block number from the top-level module name.

  `stem` and a final `norm` -> 0, `stage2`, `stage2_1`, `stage2_anything` -> 2, `head` and all other
  names -> None. A user's network gets block numbers by using these names.
  """
  if path[0] in ("stem", "norm"):
    return 0
  found = re.fullmatch(r"stage(\d+)(_.*)?", path[0])
  return int(found.group(1)) if found else None


def describe(params: PyTree, num_classes: int | None = None, channels: int | None = None) -> PyTree:
  """Return a tree like `params` whose leaves are `Leaf`.

  The head is the last linear layer with `num_classes` outputs (the last of all if None). The stem
  is the first convolution that reads `channels` channels (3, else 1, else any if None), looked for
  in the module `stem` if there is one. First and last refer to the natural order of the paths,
  numbers sorted by value (`Dense_10` after `Dense_9`): a dictionary's own order is lost in tree
  transformations. Raises ModelError if linear layers exist but none has `num_classes` outputs.
  Source: spec methods 0.7.
  """
  flat, treedef = _flatten(params)
  kinds = {path: _kind(path, flat) for path in flat}
  head = _find_head(flat, kinds, num_classes)
  stem = _find_stem(flat, kinds, channels)
  leaves = []
  for path in flat:
    is_head = path[:-1] == head
    block = None if is_head else block_id(path)
    leaves.append(Leaf(path, kinds[path], path == stem, is_head, block))
  return jax.tree.unflatten(treedef, leaves)


def mask(params: PyTree, predicate: Callable[[Leaf], bool], **options: int | None) -> PyTree:
  """Return the tree of `predicate(leaf)`, booleans; options as for `describe`."""
  return jax.tree.map(lambda leaf: bool(predicate(leaf)), describe(params, **options))


def map_leaves(
  function: Callable[..., Any], params: PyTree, *trees: PyTree, **options: int | None
) -> PyTree:
  """Return the tree of `function(leaf, parameter, *others)`; options as for `describe`."""
  return jax.tree.map(function, describe(params, **options), params, *trees)


def always_trained(params: PyTree, batch_stats: PyTree) -> PyTree:
  """Return the tree of booleans, True for RNI's group "always": BatchNorm's scale and bias.

  Except those in a module called `shortcut`; these, and LayerNorms, belong to the group "pool"
  (methods.md 0.7). BatchNorms are the layers that have running statistics.
  """
  batch_norms = {path[:-1] for path in _flatten(batch_stats)[0]}
  flat, treedef = _flatten(params)
  always = [path[:-1] in batch_norms and "shortcut" not in path for path in flat]
  return jax.tree.unflatten(treedef, always)


def stem_kernel(params: PyTree) -> Any | None:
  """Return the kernel of the first convolution, or None if there is no convolution."""
  flat, _ = _flatten(params)
  stem = _find_stem(flat, {path: _kind(path, flat) for path in flat}, None)
  return None if stem is None else flat[stem]


def num_blocks(params: PyTree) -> int:
  """Return the highest block number, 0 for a network without block names."""
  flat, _ = _flatten(params)
  return max((block_id(path) or 0 for path in flat), default=0)


def _flatten(params):
  pairs, treedef = jax.tree_util.tree_flatten_with_path(params)
  names = lambda path: tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
  return {names(path): leaf for path, leaf in pairs}, treedef


def _kind(path, flat):
  sibling = lambda name: flat.get((*path[:-1], name))
  name, kernel = path[-1], sibling("kernel")
  if name == "kernel":
    return {4: "conv", 2: "linear_w"}.get(len(kernel.shape), "other")
  if name == "bias" and kernel is not None:
    return "linear_b" if len(kernel.shape) == 2 else "other"
  if name == "scale" or (name == "bias" and sibling("scale") is not None):
    return "norm"
  return "attn_bias" if name == "attention_biases" else "other"


def _find_head(flat, kinds, num_classes):
  """Return the module path of the head, or None."""
  linear = sorted((path for path in flat if kinds[path] == "linear_w"), key=_natural)
  fitting = [path for path in linear if num_classes in (None, flat[path].shape[1])]
  if linear and not fitting:
    raise ModelError(f"no linear layer has {num_classes} outputs, so the head is unknown")
  return fitting[-1][:-1] if fitting else None


def _find_stem(flat, kinds, channels):
  """Return the path of the first convolution's kernel, or None."""
  convs = sorted((path for path in flat if kinds[path] == "conv"), key=_natural)
  convs = [path for path in convs if path[0] == "stem"] or convs
  for count in (3, 1) if channels is None else (channels,):
    fitting = [path for path in convs if flat[path].shape[2] == count]
    if fitting:
      return fitting[0]
  return convs[0] if convs else None


def _natural(path):
  """Sort key of a path that compares the numbers in names by value."""
  return [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", n)] for n in path]
