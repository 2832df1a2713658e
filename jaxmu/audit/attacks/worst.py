"""The most exposed samples: found by one half of the splits, and confirmed by the other.

The most exposed of many samples are so by luck too, and on pure noise by luck alone. So each half
of the splits chooses samples and an attack on them, and the other half measures both.
M models in S splits, N samples.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxmu.audit.attacks.crossed import Interval, influence, variance_of_mean
from jaxmu.audit.attacks.exposure import (
  Tally,
  check_study,
  most_exposed,
  sample_accuracy,
  tally,
)
from jaxmu.audit.attacks.fits import LIMIT
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER
from jaxmu.errors import DataError

SHOWN = 12  # samples that each half lists at least
_PRIOR = 8  # models that the mean variance over samples counts for in a sample's own


class Confirmed(NamedTuple):
  """Accuracy on the most exposed samples, and these samples.

  `samples` [n] are columns of the scores, first the one that stood out most where it was chosen;
  `accuracy` [n] is what the half measured that did not choose the sample, the mean if both did.
  """

  interval: Interval
  samples: np.ndarray
  accuracy: np.ndarray


class _Choice(NamedTuple):
  """How far means of members and others lie apart, by sample [N]; NaN for a lack of either."""

  distance: np.ndarray  # in standard errors
  middle: np.ndarray
  sign: np.ndarray


def confirmed_worst(
  phi: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  share: float = 0.01,
  shown: int = SHOWN,
  level: float = 0.95,
) -> Confirmed:
  """Return the balanced accuracy on the most exposed `share` of the samples, with its interval.

  Every other split makes one half. Each half ranks the samples by |t| of positive against negative
  scores, with variances shrunk to their mean over samples and models of one split counted once (so
  that few models do not win by chance); the attack says "positive" on that side of the middle of
  the two means, to the models of the other half. Noise gives one half. The interval crosses splits
  and samples as those of `exposure` do, and is no narrower than that of as many independent cases;
  it is about the chosen samples, not about others of their kind. An addition to the specification.

  Args:
    phi: logit-scaled confidences, [M, N], possibly memory-mapped; other roles may hold anything.
    roles: int8 [M, N].
    splits: the split of each model, [M].
    share: of the samples that both halves can attack; at least one sample.
    shown: how many samples each half lists at least.

  Without samples that both halves can attack: a NaN interval and no samples.

  Raises:
    DataError: shapes do not fit, or an attacked score is not finite.
  """
  check_study(phi, roles, splits)
  groups, sides = np.unique(splits, return_inverse=True)[1], (positive, negative)
  halves = [np.flatnonzero(groups % 2 == parity) for parity in (0, 1)]
  choices = [_choose(phi, roles, groups, rows, sides) for rows in halves]
  usable = np.isfinite(choices[0].distance + choices[1].distance)
  if not usable.any():
    return Confirmed(Interval(np.nan, np.nan, np.nan), np.zeros(0, int), np.zeros(0))
  count = max(1, round(share * int(usable.sum())))
  lists, counts = [], []
  for choice, rows in zip(choices, halves[::-1]):
    listed = most_exposed(np.where(usable, choice.distance, np.nan), max(count, shown))
    score = (phi[np.ix_(rows, listed)] - choice.middle[listed]) * choice.sign[listed]
    counts.append(tally(score, roles[np.ix_(rows, listed)], groups[rows], *sides))
    lists.append(listed)
  interval = _interval(counts, lists, count, usable.size, level)
  distances = [choice.distance[listed] for choice, listed in zip(choices, lists)]
  return Confirmed(interval, *_merged(lists, distances, [sample_accuracy(c) for c in counts]))


def _choose(phi, roles, groups, rows, sides) -> _Choice:
  """Compare the sides' scores of the models `rows`, sample by sample."""
  models, splits, sums, squares = np.zeros((4, len(sides), phi.shape[1]))
  for group in np.unique(groups[rows]):
    own = rows[groups[rows] == group]
    for k, side in enumerate(sides):
      splits[k] += (roles[own] == side).any(0)
  for row in rows:
    for k, values, asked in _attacked(phi, roles, row, sides):
      models[k] += asked
      sums[k] += values
  means = sums / np.maximum(models, 1)
  for row in rows:
    for k, values, asked in _attacked(phi, roles, row, sides):
      squares[k] += np.where(asked, values - means[k], 0) ** 2
  freedom = np.maximum(models - 1, 0).sum(0)
  common = squares.sum() / max(freedom.sum(), 1)
  variance = (squares.sum(0) + _PRIOR * common) / (freedom + _PRIOR)
  known = (models > 0).all(0)
  error = np.sqrt(np.where(known, variance * (1 / np.maximum(splits, 1)).sum(0), 1))
  gap = means[0] - means[1]
  distance = np.abs(gap) / np.where(error > 0, error, 1)
  return _Choice(np.where(known, distance, np.nan), means.mean(0), np.sign(gap))


def _attacked(phi, roles, row, sides):
  """Yield side, scores (0 elsewhere) and where the model has that role."""
  for k, side in enumerate(sides):
    asked = roles[row] == side
    values = np.where(asked, phi[row].astype(float), 0)
    if not np.isfinite(values).all():
      raise DataError(f"model {row} has scores that are not finite; leave failed models out")
    yield k, np.clip(values, -LIMIT, LIMIT), asked


def _interval(
  counts: list[Tally], lists: list[np.ndarray], count: int, samples: int, level: float
) -> Interval:
  """Return the mean accuracy on the first `count` samples of both lists, with t tails."""
  sizes = [len(c.positives) for c in counts]
  cells = np.zeros((sum(sizes), samples))
  value = floor = 0.0
  for half, listed, start in zip(counts, lists, (0, sizes[0])):
    top = Tally(*(c[:, :count] for c in half))
    each = [1 / n.sum(0, dtype=float) for n in (top.positives, top.negatives)]
    mean, moved = influence(top, each)
    cells[start : start + len(moved), listed[:count]] = moved / 2
    value += mean / 2
    floor += _independent(top, each) / 4
  variance = np.maximum(variance_of_mean(cells), floor)
  reach = stats.t.ppf((1 + level) / 2, len(cells) - 1) * np.sqrt(variance)
  return Interval(float(value), *np.clip([value - reach, value + reach], 0, 1).tolist())


def _independent(top: Tally, each: list[np.ndarray]) -> float:
  """Return the variance of a mean accuracy if all its cases were independent.

  One right and one wrong answer are added to each side: all answers right is no proof of certainty.
  """
  found = 0.0
  for cases, right, weight in zip(top[::2], top[1::2], each):
    share = ((weight * right.sum(0)).mean() * cases.sum() + 1) / (cases.sum() + 2)
    found += share * (1 - share) * weight.sum() / len(weight) ** 2 / 4
  return float(found)


def _merged(lists, distances, accuracies) -> tuple[np.ndarray, np.ndarray]:
  """Return the samples of both lists in order of their distance, and their mean accuracies."""
  samples, place = np.unique(np.concatenate(lists), return_inverse=True)
  farthest = np.zeros(len(samples))
  np.maximum.at(farthest, place, np.concatenate(distances))
  accuracy = np.bincount(place, np.concatenate(accuracies)) / np.bincount(place)
  order = np.argsort(-farthest, kind="stable")
  return samples[order], accuracy[order]
