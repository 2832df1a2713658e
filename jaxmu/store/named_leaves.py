"""Trees as leaves with names ("params/head/kernel"), the same names for every type of container."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_SEPARATOR = "/"


def leaves(tree: Any) -> dict[str, np.ndarray]:
  """Return the leaves on the host by name; typed PRNG keys as their key data."""
  import jax

  named = {}
  for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    named[name(key_path)] = np.ascontiguousarray(jax.device_get(leaf)).reshape(np.shape(leaf))
  return named


def empty(tree: Any) -> list[str]:
  """Name the dictionaries of a tree that have no entries, and so no leaf that would recall them."""
  import jax

  vacant = lambda node: isinstance(node, Mapping) and not node
  nodes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=vacant)
  return [name(key_path) for key_path, node in nodes if key_path and vacant(node)]


def name(key_path: tuple) -> str:
  """Return a leaf's name."""
  import jax

  return jax.tree_util.keystr(key_path, simple=True, separator=_SEPARATOR)


def nest(leaves: Mapping[str, Any], empty: Sequence[str] = ()) -> dict[str, Any]:
  """Return nested dictionaries of leaves, and of the named dictionaries without entries."""
  tree: dict[str, Any] = {}
  for path, leaf in [*leaves.items(), *((path, {}) for path in empty)]:
    *folders, last = path.split(_SEPARATOR)
    place = tree
    for folder in folders:
      place = place.setdefault(folder, {})
    place[last] = leaf
  return tree


def restore(leaves: Mapping[str, np.ndarray], like: Any) -> Any:
  """Put the leaves into the structure of `like`; numbers become numbers and keys keys again."""
  import jax

  def restored(key_path, target):
    value = leaves[name(key_path)]
    if isinstance(target, bool | int | float):
      return type(target)(value.item())
    if jax.dtypes.issubdtype(target.dtype, jax.dtypes.prng_key):
      known = isinstance(target, jax.Array)  # a shape struct hides its generator: the default one
      return jax.random.wrap_key_data(value, impl=jax.random.key_impl(target) if known else None)
    return value

  return jax.tree_util.tree_map_with_path(restored, like)
