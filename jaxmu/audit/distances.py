"""Distances between the parameters of two populations, member by member."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

_BLOCK = 1 << 15  # weights at a time


def distances(params: Any, reference: Any) -> dict[str, np.ndarray]:
  """Return l2, norm, rel and nl2 between two populations, each [K] (spec evaluation 4).

  Both are (nested) dicts or lists of arrays with a leading member axis, trainable parameters only.
  `norm` is of `params`, and `rel` is l2 / norm.
  """
  sums = sum(_squares(a, b) for a, b in zip(_leaves(params), _leaves(reference), strict=True))
  norm, other, l2 = np.sqrt(sums)
  with np.errstate(divide="ignore", invalid="ignore"):
    # |a/|a| - b/|b||^2 = (|a - b|^2 - (|a| - |b|)^2) / (|a| |b|): no second pass over the weights.
    nl2 = np.sqrt(np.maximum(l2**2 - (norm - other) ** 2, 0) / (norm * other))
    return {"l2": l2, "norm": norm, "rel": l2 / norm, "nl2": nl2}


def add_distances(rows: Sequence[Mapping], params: Any, **references: Any) -> list[dict]:
  """Return `rows` with `norm` and, for each reference (original=, retrained=), its distances.

  The members of `params` and of every reference are in the order of `rows`.
  """
  columns = {}
  for name, reference in references.items():
    found = distances(params, reference)
    columns |= {f"{key}_{name}": found[key] for key in ("l2", "rel", "nl2")}
    columns["norm"] = found["norm"]
  return [
    dict(row) | {key: float(v[k]) if row["finite"] else np.nan for key, v in columns.items()}
    for k, row in enumerate(rows)
  ]


def _leaves(tree: Any) -> Iterator[np.ndarray]:
  """Yield the leaves as [K, size], dictionary keys in sorted order."""
  if isinstance(tree, Mapping):
    tree = [tree[key] for key in sorted(tree)]
  if isinstance(tree, list | tuple):
    for child in tree:
      yield from _leaves(child)
  else:
    leaf = np.asarray(tree)
    yield leaf.reshape(len(leaf), -1)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Return the sums of squares of a, b and a - b [K, size], [3, K] in float64.

  In blocks that stay in the cache; the same blocks and NumPy's sums always give the same bits.
  """
  if a.shape != b.shape:
    raise ValueError(f"populations have different leaves: {a.shape} and {b.shape}")
  total = np.zeros((3, len(a)))
  with np.errstate(over="ignore", invalid="ignore"):
    for k, start in product(range(len(a)), range(0, a.shape[1], _BLOCK)):
      x, y = (leaf[k, start : start + _BLOCK].astype(np.float64) for leaf in (a, b))
      total[:, k] += [np.square(v).sum() for v in (x, y, x - y)]
  return total
