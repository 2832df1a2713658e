"""Distances between the parameters of two populations, member by member."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from jaxmu.audit import metrics
from jaxmu.audit.metric import PARAMETERS

_BLOCK = 1 << 15  # weights at a time


class Parameters:
  """What metrics read of the parameters of a stage: of K members, and of others beside them.

  Attributes:
    own: (nested) dict or list of arrays with a leading member axis, trainable parameters only.
    others: populations of the same form, their members in the same order, by name.
  """

  def __init__(self, own: Any, others: Mapping[str, Any]):
    self.own, self.others = own, others

  @property
  def norm(self) -> np.ndarray:
    """Euclidean norms, [K]."""
    return np.sqrt(self._sums[0])

  @cached_property
  def distances(self) -> dict[str, dict[str, np.ndarray]]:
    """l2, rel = l2 / norm, and nl2 from every other population, each [K] (spec evaluation 4)."""
    found = {}
    for place, name in enumerate(self.others):
      norm, other, l2 = np.sqrt(self._sums[[0, 2 * place + 1, 2 * place + 2]])
      with np.errstate(divide="ignore", invalid="ignore"):
        # |a/|a| - b/|b||^2 = (|a - b|^2 - (|a| - |b|)^2) / (|a| |b|): weights are read once.
        nl2 = np.sqrt(np.maximum(l2**2 - (norm - other) ** 2, 0) / (norm * other))
        found[name] = {"l2": l2, "rel": l2 / norm, "nl2": nl2}
    return found

  @cached_property
  def _sums(self) -> np.ndarray:
    """Sums of squares of own, then of each other and of its difference, [1 + 2 others, K]."""
    trees = [_leaves(tree) for tree in (self.own, *self.others.values())]
    return sum(_squares(*leaves) for leaves in zip(*trees, strict=True))


def distances(params: Any, reference: Any) -> dict[str, np.ndarray]:
  """Return l2, norm, rel and nl2 between two populations, each [K]; see `Parameters`.

  `norm` is of `params`, and `rel` is l2 / norm.
  """
  found = Parameters(params, {"reference": reference})
  return found.distances["reference"] | {"norm": found.norm}


def add_distances(rows: Sequence[Mapping], params: Any, **references: Any) -> list[dict]:
  """Return `rows` with the metrics of parameters, as far as they need these references.

  The members of `params` and of every reference (original=, retrained=) are in the order of `rows`.
  """
  stage = Parameters(params, references)
  known = [m for m in metrics.reading(PARAMETERS) if set(m.needs) <= set(references)]
  columns = {metric.name: metric.of(stage) for metric in known}
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


def _squares(own: np.ndarray, *others: np.ndarray) -> np.ndarray:
  """Return the sums of squares of own, others and differences [K, size] in float64, as `_sums`.

  In blocks that stay in the cache; the same blocks and NumPy's sums always give the same bits.
  """
  for other in others:
    if own.shape != other.shape:
      raise ValueError(f"populations have different leaves: {own.shape} and {other.shape}")
  total = np.zeros((1 + 2 * len(others), len(own)))
  with np.errstate(over="ignore", invalid="ignore"):
    for k, start in product(range(len(own)), range(0, own.shape[1], _BLOCK)):
      x, *ys = (leaf[k, start : start + _BLOCK].astype(np.float64) for leaf in (own, *others))
      vectors = [x, *(vector for y in ys for vector in (y, x - y))]
      total[:, k] += [np.square(vector).sum() for vector in vectors]
  return total
