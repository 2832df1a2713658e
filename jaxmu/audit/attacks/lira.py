"""LiRA: Gaussians per sample, fitted to models with it and to models without it.

Shapes: M models, N samples, T targets, G groups of models that are left out together. Everything is
done for a block of samples at a time: memory does not grow with N beyond inputs and result.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxmu.errors import DataError

MODES = ("online", "offline", "two-sided")
FLOOR = 1e-3  # of a standard deviation, spec evaluation 9.6
_MAD = 1.4826  # median absolute deviation -> standard deviation of a Gaussian
_BLOCK = 1 << 19  # floats of one [M, block] array


def lira(
  shadow: np.ndarray,
  member: np.ndarray,
  target: np.ndarray | None = None,
  *,
  splits: np.ndarray | None = None,
  mode: str = "online",
  fixed_variance: bool = False,
) -> np.ndarray:
  """Return how much each score speaks for membership, float32 [T, N]; NaN where no fit is possible.

  Medians and SDs over the shadow models, per sample (Carlini et al. 2022, arXiv 2112.03570; spec
  evaluation 9.7). For several augmented queries, average the results. The public code takes SDs
  with ddof 0 and a floor of 1e-30; here ddof is 1 and the floor 1e-3.

  Args:
    shadow: logit-scaled confidences of the shadow models, [M, N].
    member: whether a shadow model trained on the sample, bool [M, N].
    target: confidences of the attacked models, [T, N]. None attacks every shadow model with those
      of the other splits; T is then M.
    splits: int [M], which shadow models are left out together; None: each alone.
    mode: "online" `log N(phi; in) - log N(phi; out)`; "offline" `(phi - median_out) / sd_out`,
      ordered like the paper's `1 - Pr[Z > phi]`; "two-sided" `-log N(phi; out)`, the
      public code's offline attack.
    fixed_variance: one SD over all samples and members (offline: non-members), as the public code.

  Raises:
    DataError: shapes do not fit, or a score is not finite.
  """
  if mode not in MODES:
    raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
  leave_out, groups = target is None, None
  target = shadow if leave_out else target
  check_shapes(shadow, member, target)
  if leave_out:
    groups = np.arange(len(shadow)) if splits is None else np.unique(splits, return_inverse=True)[1]
  scale = _overall_scale(shadow, member, mode == "online") if fixed_variance else None
  scores = np.empty(target.shape, np.float32)
  for part in blocks(shadow.shape):
    values, inside = read(shadow, part), np.asarray(member[:, part], bool)
    attacked = values if leave_out else read(target, part)
    refuse_non_finite(values, attacked)
    out = leave_out_fits(values, ~inside, groups, "median")
    if mode == "offline":
      score = standardised(attacked, out, groups, scale)[0]
    else:
      score = -log_density(attacked, out, groups, scale)
      if mode == "online":
        into = leave_out_fits(values, inside, groups, "median")
        score += log_density(attacked, into, groups, scale)
    scores[:, part] = score
  return scores


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
    fit: "normal" (mean, SD with ddof 1), "median" (median, SD), "robust" (median, 1.4826 MAD).

  A group's share is subtracted from sums over all models, so all G fits cost O(M n); medians come
  from one sort, see `_Order`. NaN where fewer than two models remain (scale) or none (centre).
  """
  with np.errstate(invalid="ignore", divide="ignore"):
    # Centred values: no cancellation in the sum of squares.
    origin = np.where(mask, values, 0).sum(0) / mask.sum(0)
    delta = np.where(mask, values - origin, 0)
    n, first, second = (_without(x, groups) for x in (mask.astype(float), delta, delta * delta))
    mean = first / n
    scale = np.sqrt(np.maximum(second - n * mean**2, 0) / np.where(n > 1, n - 1, np.nan))
  centre = origin + mean
  if fit != "normal":
    order = _Order(values, mask, groups, n.astype(int))
    centre = order.median()
    if fit == "robust":
      scale = _MAD * order.median_deviation(centre)
  return Fit(centre, np.maximum(scale, FLOOR), n)


def standardised(values, fitted: Fit, rows: np.ndarray | None, scale: float | None):
  """Return `(values - centre) / scale` and the scale, under the fit of row `rows`.

  `rows` is [M], [M, n], or None for row 0; `scale` replaces the fitted ones.
  """
  take = lambda x: (
    x[:1] if rows is None else x[rows] if rows.ndim == 1 else np.take_along_axis(x, rows, 0)
  )
  spread = take(fitted.scale) if scale is None else scale
  return (values - take(fitted.centre)) / spread, spread


def log_density(values, fitted: Fit, rows: np.ndarray | None, scale: float | None) -> np.ndarray:
  """Return `log N(values)` up to a constant; arguments as in `standardised`."""
  z, spread = standardised(values, fitted, rows, scale)
  return -0.5 * z * z - np.log(spread)


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
  """Yield slices of samples whose [M, n] arrays stay small."""
  size = max(1, _BLOCK // max(1, shape[0]))
  for start in range(0, shape[1], size):
    yield slice(start, min(start + size, shape[1]))


def read(scores: np.ndarray, part: slice) -> np.ndarray:
  """Return the scores of some samples in float64."""
  return np.asarray(scores[:, part], np.float64)


def check_shapes(scores: np.ndarray, other: np.ndarray, target: np.ndarray) -> None:
  """Refuse arrays that do not belong together."""
  if scores.ndim != 2 or scores.shape != other.shape or scores.shape[1:] != target.shape[1:]:
    raise DataError(
      f"scores {scores.shape}, roles {other.shape} and targets {target.shape} do not belong "
      "together; expected [M, N], [M, N] and [T, N]"
    )


def refuse_non_finite(*scores: np.ndarray) -> None:
  """Refuse NaN and infinity, naming the first model that has one."""
  for values in scores:
    bad = ~np.isfinite(values).all(1)
    if bad.any():
      raise DataError(
        f"model {bad.argmax()} has scores that are not finite; leave failed models out"
      )


def _overall_scale(shadow: np.ndarray, member: np.ndarray, inside: bool) -> float:
  """Return one SD over all samples and all models inside (or outside)."""
  sums = np.zeros(3)
  for part in blocks(shadow.shape):
    chosen = read(shadow, part)[np.asarray(member[:, part], bool) == inside]
    sums += len(chosen), chosen.sum(), np.square(chosen).sum()
  mean = sums[1] / max(sums[0], 1)
  return float(np.sqrt(max(sums[2] / max(sums[0], 1) - mean**2, FLOOR**2)))


def _without(x: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
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
