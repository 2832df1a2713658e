"""What each leaf of a parameter tree is: convolution, linear layer, norm, stem, head, block number."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxmu.errors import ModelError


@dataclass(frozen=True)
class Leaf:
  """Describe one parameter leaf; `kind` is conv, linear_w, linear_b, norm, attn_bias or other."""

  path: tuple[str, ...]
  kind: str
  stem: bool = False
  head: bool = False
  block: int | None = None


def block_id(path: tuple[str, ...]) -> int | None:
  """Read a block number from a top-level module name: stem -> 0, stageN or stageN_x -> N."""
  if path[0] == "stem":
    return 0
  found = re.fullmatch(r"stage(\d+)(_.*)?", path[0])
  return int(found.group(1)) if found else None


def describe(params, num_classes: int | None = None, channels: int | None = None) -> Any:
  """Return a tree like `params` (of ONE model) whose leaves are `Leaf`.

  The rules look at the form of the tree, not at a list of names: a 4-D kernel is a convolution, a 2-D
  kernel is linear, a scale and its bias are a norm. The head is the last linear layer (in natural order
  of the paths) with `num_classes` outputs; the stem is the first convolution that reads `channels`
  channels. Natural order sorts numbers by value, so `Dense_10` follows `Dense_9` whatever order a
  transformation left the dictionary in. Source: spec methods 0.7.
  """
  flat = dict(sorted(_flatten(params), key=lambda item: _natural(item[0])))
  kinds = {path: _kind(path, leaf, flat) for path, leaf in flat.items()}
  head = _head(flat, kinds, num_classes)
  stem = _stem(flat, kinds, channels)

  def leaf(path):
    is_head = head is not None and path[:-1] == head
    block = None if is_head else block_id(path)
    return Leaf(path, kinds[path], path == stem, is_head, block)

  return _map(leaf, params)


def mask(params, predicate: Callable[[Leaf], bool], **options) -> Any:
  """Return a tree of booleans like `params`: `predicate` of each leaf; options as for `describe`."""
  return _map_leaves(lambda leaf: bool(predicate(leaf)), describe(params, **options))


def _kind(path, leaf, flat):
  name, siblings = path[-1], {other[-1]: flat[other] for other in flat if other[:-1] == path[:-1]}
  kernel = siblings.get("kernel")
  if name == "kernel":
    return {4: "conv", 2: "linear_w"}.get(len(leaf.shape), "other")
  if name == "bias" and kernel is not None:
    return "linear_b" if len(kernel.shape) == 2 else "other"
  if name == "scale" or (name == "bias" and "scale" in siblings):
    return "norm"
  return "attn_bias" if name.startswith("attention_bias") else "other"


def _head(flat, kinds, num_classes):
  linear = [path for path in flat if kinds[path] == "linear_w"]
  if num_classes is not None:
    fitting = [path for path in linear if flat[path].shape[1] == num_classes]
    if linear and not fitting:
      raise ModelError(f"no linear layer has {num_classes} outputs, so the head is unknown")
    linear = fitting
  return linear[-1][:-1] if linear else None


def _stem(flat, kinds, channels):
  convs = [path for path in flat if kinds[path] == "conv"]
  wanted = (3, 1) if channels is None else (channels,)
  for count in wanted:
    fitting = [path for path in convs if flat[path].shape[2] == count]
    if fitting:
      return min(fitting, key=lambda path: (block_id(path) != 0, convs.index(path)))
  return convs[0] if convs else None


def _natural(path):
  return [[(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", n)] for n in path]


def _flatten(tree, prefix=()):
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _flatten(value, (*prefix, name))
    else:
      yield (*prefix, name), value


def _map(function, tree, prefix=()):
  return {
    name: _map(function, value, (*prefix, name))
    if isinstance(value, Mapping)
    else function((*prefix, name))
    for name, value in tree.items()
  }


def _map_leaves(function, tree):
  return {
    name: _map_leaves(function, value) if isinstance(value, Mapping) else function(value)
    for name, value in tree.items()
  }
