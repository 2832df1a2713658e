"""Pairs of a split and a sample: those of two roles in two halves of the splits, and their worth.

A pair counts once, whatever the number of models that a split has for a sample. Pairs are not
independent: the models of a split share their training half, and a sample is in every split.
Shapes: M models, N samples, n pairs.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from jaxmu.audit.attacks.exposure import check_study
from jaxmu.audit.attacks.roles import NAMES
from jaxmu.errors import DataError

_RELIABLE = 30  # pairs beyond a threshold that a design effect is estimated from
_RANKS = 32  # thresholds tried in each tail of each role


class Pairs(NamedTuple):
  """The pairs of a role by ascending score: score, split, sample and weight, [n] each."""

  score: np.ndarray
  split: np.ndarray
  sample: np.ndarray
  weight: np.ndarray


def halves(
  scores: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  sides: tuple[int, int],
  samples: np.ndarray | None,
  seed: int,
) -> list[list[Pairs]]:
  """Return the pairs of both sides (roles) in each random half of the splits.

  One random model of the role, of those with a score, stands for a pair. The second side's pairs of
  a sample weigh as much as the first's; samples that lack a side are left out.

  Args:
    scores: [M, N]; NaN says nothing.
    roles: int8 [M, N].
    splits: the split of each model, [M].
    samples: index array or bool mask; None for all.

  Raises:
    DataError: shapes do not fit, or a half has pairs of a role in fewer than two splits.
  """
  check_study(scores, roles, splits)
  columns = slice(None) if samples is None else samples
  rng = np.random.default_rng(seed)
  numbers = np.unique(splits, return_inverse=True)[1]
  weighted = _weighted(*[_pairs(scores, roles, numbers, columns, role, rng) for role in sides])
  order = rng.permutation(numbers.max() + 1)
  first = np.isin(np.arange(len(order)), order[: len(order) // 2])
  found = [[_of(pairs, half) for pairs in weighted] for half in (first, ~first)]
  for half in found:
    _refuse_thin(half, sides)
  return found


def candidates(pairs: Pairs) -> np.ndarray:
  """Return the scores at ranks from both ends that grow in equal ratios: bounds live in tails."""
  ordered = pairs.score
  rank = np.unique(np.geomspace(1, len(ordered), _RANKS).astype(int)) - 1
  return np.concatenate([ordered[rank], ordered[::-1][rank]])


def share_above(pairs: Pairs, threshold: float, level: float) -> tuple[float, float]:
  """Return the share of the pairs above a threshold, and how many independent ones it is worth.

  Bounds of the share at confidence `level` take the second for the number of cases (`_effective`).
  """
  cut = int(np.searchsorted(pairs.score, threshold, side="right"))
  return float(pairs.weight[cut:].sum() / pairs.weight.sum()), _effective(pairs, cut, level)


def _pairs(scores, roles, numbers, columns, role: int, rng: np.random.Generator) -> Pairs:
  """Pick one random model of the role for each split and sample that has one with a score."""
  found = []
  for split in range(numbers.max() + 1):
    rows = np.flatnonzero(numbers == split)
    values = np.asarray(scores[rows], float)[:, columns]
    asked = (np.asarray(roles[rows])[:, columns] == role) & ~np.isnan(values)
    model = np.where(asked, rng.random(asked.shape), -1).argmax(0)
    sample = np.flatnonzero(asked.any(0))
    found.append((values[model[sample], sample], np.full(len(sample), split), sample))
  score, split, sample = map(np.concatenate, zip(*found))
  order = np.argsort(score, kind="stable")
  return Pairs(score[order], split[order], sample[order], np.ones(len(score)))


def _weighted(positives: Pairs, negatives: Pairs) -> list[Pairs]:
  """Weigh negatives so that each sample has as much of both roles; drop samples that lack one."""
  size = 1 + max((int(p.sample.max()) for p in (positives, negatives) if len(p.sample)), default=0)
  n, m = (np.bincount(p.sample, minlength=size) for p in (positives, negatives))
  worth = np.where((n > 0) & (m > 0), n / np.maximum(m, 1), 0.0)
  result = []
  for pairs, weight in ((positives, worth > 0), (negatives, worth)):
    weight = weight[pairs.sample].astype(float)
    result.append(_of(pairs._replace(weight=weight), weight > 0, by_split=False))
  return result


def _of(pairs: Pairs, chosen: np.ndarray, by_split: bool = True) -> Pairs:
  """Return the chosen pairs, or those of the chosen splits."""
  chosen = chosen[pairs.split] if by_split else chosen
  return Pairs(*(column[chosen] for column in pairs))


def _effective(pairs: Pairs, cut: int, level: float) -> float:
  """Return how many independent pairs tell as much about the share of pairs from `cut` on.

  The size that the weights leave (Kish) over the design effect, times (z / t)^2 with as many
  degrees of freedom as there are splits but one, for the noise of a variance of few splits (Korn
  and Graubard 1998, "Confidence intervals for proportions with small expected number of positive
  counts"). A share that is low by chance has a low design effect by the same chance, and one of few
  pairs is noise: the larger of it and of that where twice as many pairs, and 30, lie beyond holds.
  Scores too tied for 30 say nothing of it: each split counts once.
  """
  n, splits = len(pairs.score), np.count_nonzero(np.bincount(pairs.split))
  beyond, upper = min(cut, n - cut), cut > n - cut
  rank = min(max(2 * beyond, _RELIABLE), n // 2)
  tie = pairs.score[n - rank if upper else rank - 1]
  inner = int(np.searchsorted(pairs.score, tie, side="left" if upper else "right"))
  if max(beyond, min(inner, n - inner)) < min(_RELIABLE, n // 2):
    return float(splits)
  effect = max(_design_effect(pairs, cut), _design_effect(pairs, inner))
  size = pairs.weight.sum() ** 2 / np.square(pairs.weight).sum()
  tail = (1 + level) / 2
  return float(size / effect * (special.ndtri(tail) / special.stdtrit(splits - 1, tail)) ** 2)


def _design_effect(pairs: Pairs, cut: int) -> float:
  """Return the variance of the share from `cut` on over that of independent pairs, at least 1.

  Splits and samples are crossed: variances add up as `splits + samples - cells` (Cameron, Gelbach
  and Miller 2011, "Robust inference with multiway clustering"); neither may lower the sum.
  """
  residual = pairs.weight * -(pairs.weight[cut:].sum() / pairs.weight.sum())
  residual[cut:] += pairs.weight[cut:]
  cells, effect = np.square(residual).sum(), 1.0
  for cluster in (pairs.split, pairs.sample):
    sums, size = np.bincount(cluster, residual), np.count_nonzero(np.bincount(cluster))
    if cells > 0:
      effect += max(0.0, size / max(size - 1, 1) * np.square(sums).sum() / cells - 1)
  return effect


def _refuse_thin(half: list[Pairs], roles: tuple[int, int]) -> None:
  for pairs, role in zip(half, roles):
    found = len(np.unique(pairs.split))
    if found < 2:
      raise DataError(
        f"role '{NAMES.get(role, role)}' has scores in {found} splits of one half; expected at "
        "least 2, so give more splits, or more samples that have both roles"
      )
