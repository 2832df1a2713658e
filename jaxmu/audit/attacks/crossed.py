"""Intervals for rates of models and samples that are crossed: every split is asked of every sample.

S splits, N samples. Models of one split share their training half, and all models of one sample
share its fits and its difficulty, so a rate varies with both. Variances are taken from `cells`
[S, N]: how much the models of one split move the rate by their answers on one sample.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
  """A statistic and the bounds of its interval; NaN bounds where there is none."""

  value: float
  low: float
  high: float


class Variances(NamedTuple):
  """Variances of a rate: between splits, between samples, and that of their cells alone."""

  splits: float
  samples: float
  cells: float


def influence(
  counts: Sequence[np.ndarray],
  weights: Sequence[np.ndarray],
  factors: tuple[float, float] = (0.5, 0.5),
) -> tuple[float, np.ndarray]:
  """Return a sum of two weighted rates and how much each split and sample moves it, [S, N].

  Residuals are taken about the common rate: about each sample's own they would miss what samples
  with few models have in common.

  Args:
    counts: cases and right answers of one side, then of the other, [S, N] each.
    weights: what a case weighs by sample, per side [N]; a rate is `sum(w right) / sum(w cases)`.
    factors: of the two rates.
  """
  value, cells = 0.0, np.zeros(counts[0].shape)
  for cases, right, weight, factor in zip(counts[::2], counts[1::2], weights, factors):
    total = (weight * cases.sum(0, dtype=float)).sum()
    rate = (weight * right.sum(0, dtype=float)).sum() / total
    cells += factor / total * weight * (right - cases * rate)
    value += factor * rate
  return float(value), cells


def influence_of_samples(counts: Sequence[np.ndarray], weight: np.ndarray, size: int) -> np.ndarray:
  """Return how much cells move `sum(w * accuracy) / size` over samples, weights [N], [S, N].

  `accuracy` is that of `exposure.sample_accuracy`, and `w` must be 0 where it is NaN.
  """
  total = weight.sum()
  if not total:
    return np.zeros(counts[0].shape)
  each = [np.where(weight > 0, weight / np.maximum(n.sum(0), 1), 0) for n in counts[::2]]
  return influence(counts, each)[1] * (total / size)


def variances(cells: np.ndarray) -> Variances:
  """Return the variances that cells [S, N] add up to; NaN for fewer than two splits."""
  size, used = len(cells), int(cells.any(0).sum())
  if size < 2:
    return Variances(np.nan, np.nan, np.nan)
  splits = np.square(cells.sum(1)).sum() * size / (size - 1)
  samples = np.square(cells.sum(0)).sum() * used / max(used - 1, 1)
  return Variances(float(splits), float(samples), float(np.square(cells).sum()))


def variance_of_mean(cells: np.ndarray) -> float:
  """Return the variance of a rate: `splits + samples - cells`, at least that over splits.

  Cameron, Gelbach and Miller 2011, "Robust inference with multiway clustering".
  """
  found = variances(cells)
  return found.splits + float(np.maximum(found.samples - found.cells, 0))


def variance_of_share(independent: float, cells: np.ndarray) -> float:
  """Return the variance of a share of samples, given that of as many independent samples.

  `cells` move the share as in `density_weights`. Only what samples have in common within splits is
  added: their own noise is in the share of independent samples already.
  """
  found = variances(cells)
  return independent + float(np.maximum(found.splits - found.cells, 0))


def density_weights(values: np.ndarray, at: float) -> np.ndarray:
  """Return weights [N] whose mean is the density of values [N] at a point; 0 for NaN.

  If every value moves by its own `d`, the share of values above the point moves by `mean(w d)`. A
  triangle of one standard deviation to each side: wide, as a share over hundreds of samples needs.
  """
  known = np.isfinite(values)
  width = values[known].std(dtype=float) if known.any() else 0.0
  if not width:
    return np.zeros(len(values))
  return np.where(known, np.maximum(1 - np.abs(values - at) / width, 0) / width, 0)


def t_interval(value: float, variance: float, splits: int, level: float) -> Interval:
  """Return the t interval with one degree of freedom less than splits."""
  if not np.isfinite(variance):
    return Interval(float(value), np.nan, np.nan)
  reach = stats.t.ppf((1 + level) / 2, splits - 1) * np.sqrt(variance)
  return Interval(float(value), float(value - reach), float(value + reach))


def share_bounds(
  share: float, variance: float, most: float, level: float, freedom: float = np.inf
) -> tuple[float, float]:
  """Return Jeffreys' bounds of a share with the count of independent cases that fits its variance.

  As Korn and Graubard 1998 ("Confidence intervals for proportions with small expected number of
  positive counts estimated from survey data") with Jeffreys' in place of Clopper and Pearson's
  interval: never empty, not even about 0 or 1, where the count is `most`, the number of cases.
  `freedom` of the variance makes the count smaller, as a t quantile makes intervals wider.
  """
  if not np.isfinite(variance):
    return np.nan, np.nan
  tail = (1 - level) / 2
  count = min(most, share * (1 - share) / variance) if variance and 0 < share < 1 else most
  count *= (stats.norm.isf(tail) / stats.t.isf(tail, freedom)) ** 2
  hits = share * count + 0.5, (1 - share) * count + 0.5
  low = stats.beta.ppf(tail, *hits) if share > 0 else 0.0
  high = stats.beta.isf(tail, *hits) if share < 1 else 1.0
  return float(low), float(high)
