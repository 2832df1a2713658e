"""What attacks with a fit per sample share: Gaussians without each group of models, and blocks.

Shapes: Q queries (augmented views), M models, N samples, n samples of a block, G groups of models
that are left out together. Everything is done for a block of samples at a time: memory does not
grow with N beyond inputs and result.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxmu.errors import DataError

FLOOR = 1e-3  # of a standard deviation, spec evaluation 9.6
FITS = ("normal", "robust", "median")
LEAVE_OUT = ("split", "model", "nothing")
LIMIT = 1e100  # of a score, so that no square overflows
_MAX = float(np.finfo(np.float32).max)
_MAD = 1.4826  # median absolute deviation -> standard deviation of a Gaussian
_BLOCK = 1 << 19  # floats of one [M, block] array


class Fit(NamedTuple):
  """Gaussians fitted without one group each: `centre` and `scale`, and the `count` used, [G, n]."""

  centre: np.ndarray
  scale: np.ndarray
  count: np.ndarray


def leave_out_fits(
  values: np.ndarray, mask: np.ndarray, groups: np.ndarray | None, fit: str = "normal"
) -> Fit:
  """Fit a Gaussian to the masked values of every sample, once without each group.

  Args:
    values: float64 [M, n].
    mask: the models that enter, bool [M, n].
    groups: numbers 0..G-1, [M]; None fits once with everything, G = 1.
    fit: of `FITS`; "normal" (mean, SD with ddof 1), "median" (median, SD), "robust" (median, 1.4826
      MAD).

  A group's share is subtracted from sums over all models, so all G fits cost O(M n); medians come
  from one sort, see `_Order`. NaN where fewer than two models remain (scale) or none (centre).
  """
  with np.errstate(invalid="ignore", divide="ignore"):
    # Centred values: no cancellation in the sum of squares.
    origin = np.where(mask, values, 0).sum(0) / mask.sum(0)
    delta = np.where(mask, values - origin, 0)
    n, first, second = (without(x, groups) for x in (mask.astype(float), delta, delta * delta))
    mean = first / n
    scale = np.sqrt(np.maximum(second - n * mean**2, 0) / np.where(n > 1, n - 1, np.nan))
  centre = origin + mean
  if fit != "normal":
    order = _Order(values, mask, groups, n.astype(int))
    centre = order.median()
    if fit == "robust":
      scale = _MAD * order.median_deviation(centre)
  return Fit(centre, np.maximum(scale, FLOOR), n)


def at_rows(table: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
  """Return what each model takes from a table [G, n]: its row `rows`, [M], [M, n] or None for 0."""
  if rows is None:
    return table[:1]
  return table[rows] if rows.ndim == 1 else np.take_along_axis(table, rows, 0)


def standardised(
  values: np.ndarray, fitted: Fit, rows: np.ndarray | None, scale: float | np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | float]:
  """Return `(values - centre) / scale` and the scale, under the fit of row `rows`.

  `rows` as in `at_rows`; `scale`, a number or [M, n], replaces the fitted ones.
  """
  spread = at_rows(fitted.scale, rows) if scale is None else scale
  with np.errstate(invalid="ignore"):  # fits of too few models, for models that are not asked
    return (values - at_rows(fitted.centre, rows)) / spread, spread


def log_density(
  values: np.ndarray, fitted: Fit, rows: np.ndarray | None, scale: float | np.ndarray | None = None
) -> np.ndarray:
  """Return `log N(values)` up to a constant; arguments as in `standardised`."""
  z, spread = standardised(values, fitted, rows, scale)
  return -0.5 * z * z - np.log(spread)


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
  """Yield slices of samples whose [M, n] arrays stay small."""
  size = max(1, _BLOCK // max(1, shape[0]))
  for start in range(0, shape[1], size):
    yield slice(start, min(start + size, shape[1]))


def read_finite(scores: np.ndarray, part: slice, mask: np.ndarray | bool = True) -> np.ndarray:
  """Return the scores of some samples in float64, refusing NaN and infinity; 1e100 is the limit.

  Outside `mask` [M, n] a score may be anything and counts as 0.
  """
  values = np.where(mask, np.asarray(scores[:, part], np.float64), 0)
  refuse_non_finite(values)
  return np.clip(values, -LIMIT, LIMIT)


def to_float32(values: np.ndarray) -> np.ndarray:
  """Return float32 values; what lies beyond its range becomes its largest number."""
  return np.clip(values, -_MAX, _MAX).astype(np.float32)


def as_queries(scores: np.ndarray) -> np.ndarray:
  """Return scores [Q, M, N], given so or as [M, N] of a single query."""
  return scores[None] if scores.ndim == 2 else scores


def check_shapes(scores: np.ndarray, other: np.ndarray, target: np.ndarray) -> None:
  """Refuse arrays that do not belong together, and empty ones.

  `scores` is [M, N] or [Q, M, N], `other` [M, N], `target` [T, N] or [Q, T, N].
  """
  fits = scores.ndim in (2, 3) and scores.ndim == target.ndim and scores.shape[-2:] == other.shape
  if not fits or scores.shape[-1] != target.shape[-1] or scores.shape[:-2] != target.shape[:-2]:
    raise DataError(
      f"scores {scores.shape}, roles {other.shape} and targets {target.shape} do not belong "
      "together; expected [M, N], [M, N] and [T, N], or [Q, M, N], [M, N] and [Q, T, N]"
    )
  if not scores.size or not target.size:
    raise DataError(
      f"scores {scores.shape} and targets {target.shape} are empty; expected at least one model "
      "and one sample"
    )


def refuse_non_finite(*scores: np.ndarray) -> None:
  """Refuse NaN and infinity, naming the first model that has one."""
  for values in scores:
    bad = ~np.isfinite(values).all(1)
    if bad.any():
      raise DataError(
        f"model {bad.argmax()} has scores that are not finite; leave failed models out"
      )


def group_numbers(splits: np.ndarray, leave_out: str, models: int) -> np.ndarray | None:
  """Return the number of the group that each model is left out with, [M]; None for nothing.

  Raises:
    ValueError: `leave_out` is not one of `LEAVE_OUT`.
    DataError: `splits` does not name a split for each model.
  """
  if leave_out not in LEAVE_OUT:
    raise ValueError(f"leave_out must be one of {LEAVE_OUT}, got {leave_out!r}")
  splits = np.asarray(splits)
  if splits.shape != (models,):
    raise DataError(f"splits {splits.shape} must name the split of each of the {models} models")
  if leave_out == "nothing":
    return None
  return np.arange(models) if leave_out == "model" else np.unique(splits, return_inverse=True)[1]


def without(x: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
  """Return sums over all models [M, n] but those of each group, [G, n]."""
  total = x.sum(0, keepdims=True)
  if groups is None:
    return total
  if (np.diff(groups) < 0).any():
    order = np.argsort(groups, kind="stable")
    x, groups = x[order], groups[order]
  starts = np.flatnonzero(np.diff(groups, prepend=-1))
  return total - np.add.reduceat(x, starts, axis=0)


class _Order:
  """Order statistics of masked columns, without one group of models each.

  The columns are sorted once. Without a group, the k-th smallest value stands at k, moved right by
  every member of the group that sorts before it.
  """

  def __init__(self, values, mask, groups, count):
    held = np.where(mask, values, np.inf)
    order = held.argsort(0)
    self.sorted = np.take_along_axis(held, order, 0)
    self.count = count  # of what remains, [G, n]
    # Sorted positions of every group's first, second ... member, [G, n] each.
    self.positions = () if groups is None else _positions(order, groups)

  def value(self, k: np.ndarray) -> np.ndarray:
    """Return the k-th smallest remaining value, [G, n], for k [G, n] from 0 to count - 1."""
    k = np.array(k)
    for position in self.positions:
      k += position <= k
    return np.take_along_axis(self.sorted, np.clip(k, 0, len(self.sorted) - 1), 0)

  def median(self) -> np.ndarray:
    """Return the median of what remains, [G, n]; NaN where nothing does."""
    both = self.value((self.count - 1) // 2) + self.value(self.count // 2)
    return np.where(self.count > 0, both / 2, np.nan)

  def median_deviation(self, centre: np.ndarray) -> np.ndarray:
    """Return the median of |value - centre|, [G, n]; NaN for fewer than two values."""
    both = self._deviation(centre, (self.count - 1) // 2)
    both = both + self._deviation(centre, self.count // 2)
    return np.where(self.count > 1, both / 2, np.nan)

  def _deviation(self, centre: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the k-th smallest |value - centre|: the k + 1 nearest values are one window."""
    low, high = np.zeros_like(k), np.maximum(self.count - k - 1, 0)
    with np.errstate(invalid="ignore"):
      while (low < high).any():
        middle = (low + high) // 2
        right = centre - self.value(middle) > self.value(middle + k + 1) - centre
        inside = low < high
        low = np.where(inside & right, middle + 1, low)
        high = np.where(inside & ~right, middle, high)
      return np.maximum(centre - self.value(low), self.value(low + k) - centre)


def _positions(order: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Return where the models of each group stand in the sorted columns, ascending: [A, G, n].

  A is the size of the largest group; smaller ones are padded with M, behind every value.
  """
  models, samples = order.shape
  rank = np.empty_like(order)
  np.put_along_axis(rank, order, np.arange(models)[:, None], 0)
  sizes = np.bincount(groups)
  found = np.full((sizes.max(), len(sizes), samples), models)
  for group in range(len(sizes)):
    found[: sizes[group], group] = rank[groups == group]
  return np.sort(found, 0)
