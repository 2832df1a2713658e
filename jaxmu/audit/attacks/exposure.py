"""How exposed samples are: rates of any attack, per sample and pooled, with their intervals.

An attack gives `scores` [M, N], larger for "member", NaN where it says nothing; `roles` [M, N] say
which of them are members (positive) and which not (negative). M models in S splits, N samples.
"""

from typing import NamedTuple

import numpy as np

from jaxmu.audit.attacks.crossed import (
  Interval,
  density_weights,
  influence,
  influence_of_samples,
  share_bounds,
  t_interval,
  variance_of_mean,
  variance_of_share,
)
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER
from jaxmu.audit.attacks.tails import pooled_intervals
from jaxmu.errors import DataError

RATES = (0.01, 0.001, 0.1)  # false-positive rates of the pooled TPR
QUANTILES = (0.5, 0.95, 0.99)
ABOVE = 0.6  # a sample attacked more often than this counts as exposed, spec evaluation 9.6
STATISTICS = (
  *("accuracy", "sample_mean", *(f"sample_q{round(100 * q)}" for q in QUANTILES)),
  *(f"share_above_{ABOVE}", "auc", *(f"tpr_at_{rate}" for rate in RATES)),
)
BEYOND = 10  # samples that a quantile must have beyond it to be given an interval


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
  level: float = 0.95,
) -> Exposure:
  """Return the rates of an attack with intervals over splits and samples (spec evaluation 9.6).

  Pooled over all (model, sample) pairs, non-members of a sample weighing as much as its members:
  `accuracy` (guess "member" where the score exceeds `threshold`), `auc`, `tpr_at_0.01`,
  `tpr_at_0.001` and `tpr_at_0.1`. Over samples, of their balanced accuracy: `sample_mean`,
  `sample_q50`, `_q95`, `_q99`, and `share_above_0.6`; the quantiles and the share grow with the
  noise of few attacked models, so read them beside the retrained models'.

  Intervals are about studies with other splits and other samples of the same kind. Where the
  specification resamples splits, the variances of `crossed` are what that tends to, and samples,
  whose luck no split escapes, are added. They hold the truth as often as they say (measured in
  bench/coverage_studies.py).
  Fits are taken as they are: what splits move in all fits at once is missed, so that .90 to .95
  hold it where thousands of samples leave little else. NaN bounds: a single split, or a quantile
  with fewer than ten samples beyond it, whose interval would have no upper end. NaN altogether: a
  TPR with fewer than ten false positives to expect (`tails.pairs_needed`).

  Raises:
    DataError: shapes do not fit, or no sample was attacked in models of both roles.
  """
  counts = tally(scores, roles, splits, positive, negative, threshold)
  worth, accuracy = _worth(counts), sample_accuracy(counts)
  if not worth.any():
    raise DataError("no sample has scores of models of both roles; expected some of each role")
  value, cells = influence(counts, (worth > 0, worth))
  pairs = counts.positives, counts.negatives
  sides = positive, negative
  found = [
    t_interval(value, variance_of_mean(cells), len(cells), level),
    *_over_samples(counts, accuracy, level),
    *pooled_intervals(scores, roles, splits, sides, pairs, worth, RATES, level),
  ]
  table = {n: Interval(*np.clip(i, 0, 1).tolist()) for n, i in zip(STATISTICS, found)}
  return Exposure(table, accuracy, counts)


def check_study(scores: np.ndarray, roles: np.ndarray, splits: np.ndarray) -> None:
  """Refuse scores, roles and splits that are empty or do not belong together."""
  shapes = scores.shape, roles.shape, np.shape(splits)
  if len(shapes[0]) != 2 or shapes[1:] != (shapes[0], shapes[0][:1]):
    raise DataError(
      f"scores {shapes[0]}, roles {shapes[1]} and splits {shapes[2]} do not belong together; "
      "expected [M, N], [M, N] and [M] for M models and N samples"
    )
  if not scores.size:
    raise DataError(f"scores {shapes[0]} are empty; expected at least one model and one sample")


def tally(
  scores: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  threshold: float = 0.0,
) -> Tally:
  """Count attacked models and correct guesses by split and sample; NaN scores do not count.

  Raises:
    DataError: shapes do not fit, or are empty.
  """
  check_study(scores, roles, splits)
  groups = np.unique(splits, return_inverse=True)[1]
  counts = Tally(*np.zeros((4, groups.max() + 1, scores.shape[1]), np.float32))
  for score, role, group in zip(scores, roles, groups):
    guess, known = score > threshold, ~np.isnan(score)
    for side, total, right in ((positive, *counts[:2]), (negative, *counts[2:])):
      asked = known & (role == side)
      total[group] += asked
      right[group] += asked & (guess == (side == positive))
  return counts


def sample_accuracy(counts: Tally) -> np.ndarray:
  """Return the balanced accuracy `(TPR + TNR) / 2` of each sample, [N].

  NaN where a side has no attacked model.
  """
  n, hits, m, rejections = (count.sum(0) for count in counts)
  with np.errstate(invalid="ignore"):
    return (hits / n + rejections / m) / 2


def most_exposed(accuracy: np.ndarray, count: int) -> np.ndarray:
  """Return the samples with the highest accuracy, first the highest, [count]; never NaN ones."""
  order = np.argsort(-accuracy, kind="stable")
  return order[: min(count, int(np.isfinite(accuracy).sum()))]


def _worth(counts: Tally) -> np.ndarray:
  """Return what a pair with a non-member weighs, by sample [N], where one with a member weighs 1.

  Members over non-members of the sample, 0 if it lacks a side: both then are the same mixture of
  samples. Equal weights alone would move the pooled AUC of pure noise off one half.
  """
  n, m = counts.positives.sum(0, dtype=float), counts.negatives.sum(0, dtype=float)
  return np.where(m > 0, n / np.maximum(m, 1), 0.0)


def _over_samples(counts: Tally, accuracy: np.ndarray, level: float) -> list[Interval]:
  """Return mean, quantiles and share of the samples' accuracies."""
  known = np.isfinite(accuracy)
  values, splits = accuracy[known].astype(float), len(counts.positives)
  size = len(values)

  def bounds(share, at):
    """Bound the share of samples above an accuracy."""
    moved = influence_of_samples(counts, density_weights(accuracy, at), size)
    variance = variance_of_share(share * (1 - share) / size, moved)
    return share_bounds(share, variance, size, level, splits - 1)

  moved = influence_of_samples(counts, known.astype(float), size)
  found = [t_interval(values.mean(), variance_of_mean(moved), splits, level)]
  for q in QUANTILES:
    at, ends = np.quantile(values, q), np.full(2, np.nan)
    if round((1 - q) * size, 6) >= BEYOND and splits > 1:
      ends = np.quantile(values, 1 - np.array(bounds(1 - q, at)[::-1]))
    found.append(Interval(at, *ends))
  share = float((accuracy[known] > ABOVE).mean())  # in float32, where six of ten are 0.6
  return [*found, Interval(share, *bounds(share, ABOVE))]
