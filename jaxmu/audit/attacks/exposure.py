"""How exposed samples are: rates of any attack, per sample and pooled, with intervals over splits.

An attack gives `scores` [M, N], larger for "member", NaN where it says nothing; `roles` [M, N] say
which of them are members (positive) and which not (negative). M models in S splits, N samples.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxmu.audit.attacks.population_scores import pooled_rates
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER
from jaxmu.errors import DataError

RATES = (0.01, 0.001)  # false-positive rates of the pooled TPR
QUANTILES = (0.5, 0.95, 0.99)
ABOVE = 0.6  # a sample attacked more often than this counts as exposed, spec evaluation 9.6
STATISTICS = (
  *("accuracy", "sample_mean", *(f"sample_q{round(100 * q)}" for q in QUANTILES)),
  *(f"share_above_{ABOVE}", "auc", *(f"tpr_at_{rate}" for rate in RATES)),
)
_REPLICATES = 50  # of the bootstrap, at a time
_TIE = 1e-6  # accuracies closer than this are equal: they are float32


class Interval(NamedTuple):
  """A statistic and its bootstrap interval over splits."""

  value: float
  low: float
  high: float


class Tally(NamedTuple):
  """Attacked models and correct guesses by split and sample, float32 [S, N] each."""

  positives: np.ndarray
  hits: np.ndarray
  negatives: np.ndarray
  rejections: np.ndarray


class Exposure(NamedTuple):
  """Statistics by name, balanced accuracy per sample [N] (NaN: never attacked), and its counts."""

  statistics: dict[str, Interval]
  accuracy: np.ndarray
  tally: Tally


def exposure(
  scores: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  threshold: float = 0.0,
  bootstrap: int = 1000,
  level: float = 0.95,
  seed: int = 0,
) -> Exposure:
  """Return the rates of an attack with intervals bootstrapped over splits (spec evaluation 9.6).

  Pooled over all (model, sample) pairs, non-members of a sample weighing as much as its members:
  `accuracy` (guess "member" where the score exceeds `threshold`), `auc`, `tpr_at_0.01` and
  `tpr_at_0.001`. Over samples, of their balanced accuracy: `sample_mean`, `sample_q50`, `_q95`,
  `_q99`, and `share_above_0.6`; the quantiles and the share grow with the noise of few attacked
  models, so read them beside the retrained models'.

  Splits, not models, are resampled: models of one split share their training half. The fits stay as
  they are, so their noise, which is each sample's own, is added to the width: see `_two_way`.

  Raises:
    DataError: no sample was attacked in models of both roles.
  """
  sides = (positive, negative)
  counts = tally(scores, roles, splits, *sides, threshold)
  widen, worth = _two_way(counts), _worth(counts)
  if not worth.any():
    raise DataError("no sample has scores of models of both roles; expected some of each role")
  size = len(counts.positives)
  weights = _weights(size, bootstrap, seed)
  pooled = pooled_rates(scores, roles, splits, sides, worth, weights, RATES)
  columns = [*_accuracies(counts, worth, weights).T, *pooled.T]
  found = [interval(column[0], column[1:], size, level, widen) for column in columns]
  table = {n: Interval(*np.clip(i, 0, 1).tolist()) for n, i in zip(STATISTICS, found)}
  return Exposure(table, sample_accuracy(counts)[0], counts)


def tally(
  scores: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  threshold: float = 0.0,
) -> Tally:
  """Count attacked models and correct guesses by split and sample; NaN scores do not count."""
  groups = np.unique(splits, return_inverse=True)[1]
  counts = Tally(*np.zeros((4, groups.max() + 1, scores.shape[1]), np.float32))
  for score, role, group in zip(scores, roles, groups):
    guess, known = score > threshold, ~np.isnan(score)
    for side, total, right in ((positive, *counts[:2]), (negative, *counts[2:])):
      asked = known & (role == side)
      total[group] += asked
      right[group] += asked & (guess == (side == positive))
  return counts


def sample_accuracy(counts: Tally, weights: np.ndarray | None = None) -> np.ndarray:
  """Return the balanced accuracy `(TPR + TNR) / 2` of each sample, [R, N], for R weightings [R, S].

  NaN where a side has no attacked model. No weights: all splits once, R = 1.
  """
  weights = np.ones((1, len(counts.positives))) if weights is None else weights
  n, hits, m, rejections = (weights.astype(np.float32) @ count for count in counts)
  with np.errstate(invalid="ignore"):
    return (hits / n + rejections / m) / 2


def most_exposed(accuracy: np.ndarray, count: int) -> np.ndarray:
  """Return the samples with the highest accuracy, first the highest, [count]; never NaN ones."""
  order = np.argsort(-accuracy, kind="stable")
  return order[: min(count, int(np.isfinite(accuracy).sum()))]


def confirmed_worst(first: np.ndarray, second: np.ndarray, share: float = 0.01) -> float:
  """Return the mean accuracy of the most exposed samples, by models that did not select them.

  The highest of many noisy accuracies is high on pure noise. Give accuracies [N] of two runs of the
  attack, fits included, on disjoint halves of the splits: each run's top `share` is measured in the
  other one, and noise gives one half. An addition to the specification's worst-case samples.
  """
  runs = np.stack([first, second])
  runs = runs[:, np.isfinite(runs).all(0)]
  if not runs.size:
    return np.nan
  count = max(1, round(share * runs.shape[1]))
  measured = [other[most_exposed(one, count)].mean() for one, other in (runs, runs[::-1])]
  return float(np.mean(measured))


def exposure_change(
  before: Tally, after: Tally, *, bootstrap: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, dict[str, Interval]]:
  """Return how much more exposed each sample is after than before [N], and statistics of it.

  With tallies of the retained against the never-seen role this is the retain-side risk of spec
  extensions 8. `mean`, `share_more`, `share_less` and their difference `net` (chance moves as many
  up as down); splits are resampled for both together.

  Raises:
    DataError: the tallies are of different splits or samples.
  """
  shapes = before.positives.shape, after.positives.shape
  if shapes[0] != shapes[1]:
    raise DataError(f"tallies over (splits, samples) {shapes[0]} and {shapes[1]} do not compare")
  size, rows = shapes[0][0], []
  for w in _parts(_weights(size, bootstrap, seed)):
    change = sample_accuracy(after, w) - sample_accuracy(before, w)
    n = np.maximum(np.isfinite(change).sum(1), 1)
    more, less = (change > _TIE).sum(1) / n, (change < -_TIE).sum(1) / n
    rows.append(np.stack([np.nansum(change, 1) / n, more, less, more - less], 1))
  named = zip(("mean", "share_more", "share_less", "net"), np.concatenate(rows).T)
  table = {name: interval(column[0], column[1:], size, level) for name, column in named}
  return (sample_accuracy(after) - sample_accuracy(before))[0], table


def interval(
  value: float, replicates: np.ndarray, size: int, level: float = 0.95, widen: float = 1.0
) -> Interval:
  """Return a value with the bootstrap interval of its replicates [B], which resample `size` splits.

  Quantiles of the replicates about their own mean, moved to the value: resampling adds noise, which
  shifts a share or a quantile over samples but not its spread. The tails are widened for few splits
  as in `statistics.percentile_interval`, and all by the factor `widen`. NaN bounds for fewer than
  two splits.
  """
  replicates = replicates[np.isfinite(replicates)]
  if size < 2 or not len(replicates):
    return Interval(float(value), np.nan, np.nan)
  tail = stats.norm.sf(np.sqrt(size / (size - 1)) * stats.t.ppf((1 + level) / 2, size - 1))
  low, high = np.quantile(replicates, (tail, 1 - tail)) - replicates.mean()
  low, high = value + widen * low, value + widen * high
  return Interval(float(value), float(low), float(high))


def _two_way(counts: Tally) -> float:
  """Return how much wider an interval is when samples vary too, from the mean accuracy; >= 1.

  Splits and samples are crossed: variances add up as `splits + samples - cells` (Cameron, Gelbach
  and Miller 2011, "Robust inference with multiway clustering"). On noise of six simulated studies,
  0.91 to 1.0 of such 95 % intervals held one half, and 0.78 to 0.95 of those over splits alone.
  """
  with np.errstate(invalid="ignore", divide="ignore"):
    sides = counts[:2], counts[2:]
    cells = sum((right - n * (right.sum(0) / n.sum(0))) / n.sum(0) / 2 for n, right in sides)
  accuracy = sample_accuracy(counts)[0]
  known = np.isfinite(accuracy)
  if not known.any():
    return 1.0
  cells, size = cells[:, known], known.sum()
  of_splits = np.square(cells.sum(1, dtype=float)).sum()
  of_samples = size * accuracy[known].var(dtype=float) - np.square(cells).sum(dtype=float)
  return float(np.sqrt(1 + max(0.0, of_samples) / of_splits)) if of_splits else 1.0


def _weights(size: int, bootstrap: int, seed: int) -> np.ndarray:
  """Return how often each split counts: once each, then as resampled, [1 + bootstrap, S]."""
  drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), bootstrap)
  return np.concatenate([np.ones((1, size)), drawn])


def _parts(weights: np.ndarray) -> list[np.ndarray]:
  return [weights[i : i + _REPLICATES] for i in range(0, len(weights), _REPLICATES)]


def _worth(counts: Tally) -> np.ndarray:
  """Return what a pair with a non-member weighs, by sample [N], where one with a member weighs 1.

  Members over non-members of the sample, 0 if it lacks a side: both then are the same mixture of
  samples. Equal weights alone would move the pooled AUC of pure noise off one half.
  """
  n, m = counts.positives.sum(0, dtype=float), counts.negatives.sum(0, dtype=float)
  return np.where(m > 0, n / np.maximum(m, 1), 0.0)


def _accuracies(counts: Tally, worth: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Return the first statistics, those of guesses, for each weighting: [R, 3 + quantiles]."""
  pairs = (worth > 0, worth > 0, worth, worth)
  n, hits, m, rejections = (weights @ (count @ pair) for count, pair in zip(counts, pairs))
  with np.errstate(invalid="ignore"):
    accuracy = (hits / n + rejections / m) / 2
  return np.column_stack([accuracy, np.concatenate([_summary(counts, w) for w in _parts(weights)])])


def _summary(counts: Tally, weights: np.ndarray) -> np.ndarray:
  """Return mean, quantiles and share of the samples' accuracies, [R, 2 + quantiles]."""
  ordered = np.sort(sample_accuracy(counts, weights), 1)  # NaN last
  n = np.isfinite(ordered).sum(1)
  some = np.maximum(n, 1)
  place = np.stack([q * (some - 1) for q in QUANTILES], 1)
  low, high = (np.take_along_axis(ordered, f(place).astype(int), 1) for f in (np.floor, np.ceil))
  quantiles = low + (high - low) * (place % 1)
  sums = np.nansum(ordered, 1), (ordered > ABOVE).sum(1)
  table = np.column_stack([sums[0] / some, quantiles, sums[1] / some])
  return np.where(n[:, None] > 0, table, np.nan)
