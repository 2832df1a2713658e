"""Rates of an attack with one threshold for all samples: AUC and TPR at low false-positive rates.

M models in S splits, N samples. All (model, sample) pairs are pooled; a sample's non-members weigh
`worth`, so that together they weigh as much as its members.
"""

from collections.abc import Sequence

import numpy as np

from jaxmu.audit.attacks.crossed import (
  Interval,
  influence,
  share_bounds,
  t_interval,
  variance_of_mean,
)
from jaxmu.audit.attacks.population_scores import area, cumulative, thresholds_of

FALSE_POSITIVES = 10  # fewer are expected: a TPR is not resolved
_APART = 3  # the slope of a ROC curve is taken between a third and three times a rate
_BINS = 1000  # quantiles of each side, between which placements are looked up


def pairs_needed(rate: float) -> float:
  """Return how many (split, sample) pairs of non-members a TPR at this false-positive rate needs.

  Models of one split and sample share the training half, so they count as one.
  """
  return FALSE_POSITIVES / rate


def pooled_intervals(
  scores: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  sides: tuple[int, int],
  pairs: tuple[np.ndarray, np.ndarray],
  worth: np.ndarray,
  rates: Sequence[float],
  level: float,
) -> list[Interval]:
  """Return the AUC (ties count half) and the TPR at each false-positive rate.

  TPR: the largest whose false-positive rate is strictly below, no interpolation, as in the public
  code of LiRA (spec evaluation 9.6). NaN with NaN bounds where fewer than `pairs_needed` pairs of
  non-members were attacked. Both are linearised: an AUC in placements, a TPR in the members above
  the threshold and, by the slope of the ROC curve, in the non-members above, which set it.

  Args:
    scores: [M, N], NaN where the attack says nothing.
    roles, splits: [M, N] and [M].
    sides: the roles of members and of others.
    pairs: how many members and others of each sample each split has, [S, N] each.
    worth: [N]; samples with 0 take no part.
    rates: false-positive rates.
  """
  masks = [(roles == side) & ~np.isnan(scores) & (worth > 0) for side in sides]
  members = np.sort(scores[masks[0]])
  others, total = cumulative(scores[masks[1]], np.broadcast_to(worth, scores.shape)[masks[1]])
  resolved = [r for r in rates if ((pairs[1] > 0) & (worth > 0)).sum() >= pairs_needed(r)]
  thresholds = thresholds_of(others, total, np.array(resolved))
  sums = _sums(scores, splits, masks, _placements(members, others, total), thresholds)
  weights, size = (worth > 0, worth), len(pairs[0])
  cells = influence((pairs[0], sums[0, 0], pairs[1], sums[1, 0]), weights, (1, 1))[1]
  found = {"auc": t_interval(area(members, others, total), variance_of_mean(cells), size, level)}
  most = ((pairs[0] > 0) & (worth > 0)).sum()
  for rate, threshold, hits, alarms in zip(resolved, thresholds, sums[0, 1:], sums[1, 1:]):
    slope = _slope(members, others, total, rate)
    cells = influence((pairs[0], hits, pairs[1], alarms), weights, (1, -slope))[1]
    tpr = _above(members, threshold)
    bounds = share_bounds(tpr, variance_of_mean(cells), most, level, size - 1)
    found[rate] = Interval(float(tpr), *bounds)
  return [found.get(key, Interval(np.nan, np.nan, np.nan)) for key in ("auc", *rates)]


def _above(members: np.ndarray, threshold: np.ndarray) -> np.ndarray:
  return 1 - np.searchsorted(members, threshold, "right") / len(members)


def _slope(members: np.ndarray, others: np.ndarray, total: np.ndarray, rate: float) -> float:
  """Return the slope of the ROC curve about a false-positive rate."""
  ends = np.array([rate / _APART, rate * _APART])
  return float(np.diff(_above(members, thresholds_of(others, total, ends)))[0] / np.diff(ends)[0])


def _placements(members: np.ndarray, others: np.ndarray, total: np.ndarray):
  """Return edges, and in each bin the share of others below and that of members above.

  Placements of every pair would take a search in millions of scores for each; bins of a thousandth
  of each side are fine enough for a variance. A bin that holds ties alone is exact.
  """
  ends = [side[np.linspace(0, len(side) - 1, _BINS).astype(int)] for side in (members, others)]
  edges = np.unique(np.concatenate(ends))
  below = total[np.searchsorted(others, edges, "right")] / total[-1]
  above = _above(members, edges)
  middle = lambda x, first, last: (np.append(first, x) + np.append(x, last)) / 2
  return edges, (middle(below, 0.0, 1.0), middle(above, 1.0, 0.0))


def _sums(scores, splits, masks, placements, thresholds) -> np.ndarray:
  """Sum placements and scores above each threshold by side, split and sample, [2, 1 + F, S, N]."""
  groups = np.unique(splits, return_inverse=True)[1]
  edges, tables = placements
  shape = (2, 1 + len(thresholds), groups.max() + 1, scores.shape[1])
  sums = np.zeros(shape, np.float32)
  for model, group in enumerate(groups):
    for mask, table, side in zip(masks, tables, sums):
      asked = np.flatnonzero(mask[model])
      score = scores[model, asked]
      side[0, group, asked] += table[np.searchsorted(edges, score)]
      for above, threshold in zip(side[1:], thresholds):
        above[group, asked] += score > threshold
  return sums
