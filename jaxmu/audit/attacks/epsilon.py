"""Epsilon, bounded from below with confidence by what an attack gets right.

Were models that forgot a sample (epsilon, delta)-indistinguishable from models that never saw it,
no event could be more than exp(epsilon) times likelier for one of them, up to delta. Rates that
contradict this refute epsilon. Shapes: M models, N samples, n pairs of a split and a sample.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from jaxmu.audit.attacks.roles import FORGOTTEN, NAMES, NEVER
from jaxmu.errors import DataError

DIRECTIONS = ("positives above", "negatives below", "positives below", "negatives above")
_RELIABLE = 30  # pairs beyond a threshold that a design effect is estimated from
_RANKS = 32  # thresholds tried in each tail of each role


def clopper_pearson(
  hits: np.ndarray | float, n: np.ndarray | float, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
  """Return the exact bounds of a probability of which `hits` of `n` cases were seen (1934).

  Each bound fails with probability (1 - level) / 2 at most. Counts broadcast and may be fractions,
  such as effective sample sizes; no cases give (0, 1).

  Raises:
    ValueError: hits outside [0, n], or a level outside (0, 1).
  """
  check_options(level)
  hits, n = np.broadcast_arrays(np.asarray(hits, float), np.asarray(n, float))
  if not ((hits >= 0) & (hits <= n)).all():
    raise ValueError(f"hits must be counts in [0, n], got hits {hits} of n {n}")
  tail, misses = (1 - level) / 2, n - hits
  some = lambda count: np.where(count > 0, count, 1)
  low = np.where(hits > 0, special.betaincinv(some(hits), misses + 1, tail), 0.0)
  high = np.where(misses > 0, special.betainccinv(hits + 1, some(misses), tail), 1.0)
  return low[()], high[()]


def epsilon_of_rates(
  fpr_high: np.ndarray | float, fnr_high: np.ndarray | float, delta: float = 0.0
) -> np.ndarray:
  """Return the least epsilon >= 0 that allows error rates of at most these.

  The larger of `log(1 - FNR - delta) - log FPR` and the same with both rates exchanged (Kairouz et
  al. 2015, arXiv 1311.0776); inf for an attack without errors, 0 for a useless one.
  """
  check_options(delta=delta)
  ratios = _log_ratio(fpr_high, fnr_high, delta), _log_ratio(fnr_high, fpr_high, delta)
  return np.maximum(np.maximum(*ratios), 0.0)[()]


def epsilon_ceiling(
  members: np.ndarray | float,
  others: np.ndarray | float,
  level: float = 0.95,
  delta: float = 0.0,
) -> np.ndarray:
  """Return the bound on epsilon that an attack without errors on so many cases would reach.

  16 cases per side give 1.35, 64 give 2.82 and 512 give 4.93: a bound near its ceiling says that
  cases are lacking, not that the leak is small.
  """
  return epsilon_of_rates(
    clopper_pearson(0, others, level)[1], clopper_pearson(0, members, level)[1], delta
  )


def gdp_delta(mu: float, epsilon: float) -> float:
  """Return the delta at which a mu-GDP mechanism is (epsilon, delta)-DP (arXiv 1905.02383).

  `Phi(-epsilon / mu + mu / 2) - exp(epsilon) Phi(-epsilon / mu - mu / 2)`, corollary 2.13.
  """
  if not (mu >= 0 and epsilon >= 0):
    raise ValueError(f"mu and epsilon must be at least 0, got {mu} and {epsilon}")
  if mu == 0 or np.isinf(epsilon):
    return 0.0
  first, second = (special.log_ndtr(-epsilon / mu + sign * mu / 2) for sign in (1, -1))
  if np.isinf(first):
    return 0.0
  # Differences of logarithms: exp(epsilon) would overflow.
  return float(-np.exp(first) * np.expm1(min(epsilon + second - first, 0.0)))


def gdp_epsilon(mu: float, delta: float) -> float:
  """Return the epsilon at which a mu-GDP mechanism is (epsilon, delta)-DP; `gdp_delta` inverted.

  0 where delta alone covers mu; inf for delta 0 and a positive mu.
  """
  check_options(delta=delta)
  if gdp_delta(mu, 0.0) <= delta:
    return 0.0
  # Where the first term of delta alone is as small.
  high = float(mu) * (float(mu) / 2 - float(special.ndtri(delta)))
  if np.isinf(high):
    return np.inf
  return float(
    optimize.brentq(lambda e: gdp_delta(mu, e) - delta, 0.0, high, xtol=1e-12, maxiter=1000)
  )


def gdp_mu(fpr_high: np.ndarray | float, fnr_high: np.ndarray | float) -> np.ndarray:
  """Return the largest mu that error rates of at most these exclude, 0 if none.

  `Phi^-1(1 - FNR) - Phi^-1(FPR)`: the trade-off curve of mu-GDP through that point (Nasr et al.
  2023, arXiv 2302.07956).
  """
  with np.errstate(invalid="ignore"):
    mu = -special.ndtri(fnr_high) - special.ndtri(fpr_high)
  return np.where(mu > 0, mu, 0.0)[()]


class EpsilonBound(NamedTuple):
  """A lower bound on epsilon and where it comes from.

  `low` is the bound, `ceiling` what an attack without errors would reach on as many pairs.
  `direction` (of DIRECTIONS) names the event that refutes smaller epsilons: "positives above" says
  that scores above `threshold` are exp(low) times likelier for the positive role (but for delta),
  "negatives below" that scores up to it are so for the negative role. `fpr` and `fnr` are the
  measured error rates of an attacker who calls that side of the threshold positive, or negative.
  `members` and `others` count the (split, sample) pairs of the positive and of the negative role,
  `effective_members` and `effective_others` the independent pairs that they are worth. `mu` is the
  lower bound on the mu of Gaussian DP by the same rates and `epsilon_gdp` its epsilon at delta (NaN
  for delta 0), for those who assume that trade-off curve.
  """

  low: float
  ceiling: float
  threshold: float
  direction: str
  fpr: float
  fnr: float
  members: int
  others: int
  effective_members: float
  effective_others: float
  mu: float
  epsilon_gdp: float


def epsilon_bound(
  scores: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  samples: np.ndarray | None = None,
  level: float = 0.95,
  delta: float = 0.0,
  seed: int = 0,
) -> EpsilonBound:
  """Return a lower bound on epsilon between two roles, at confidence `level` (spec auditing 6).

  One random half of the splits chooses threshold and direction, those with the largest bound; the
  other half measures the rates. A (split, sample) pair counts once, by one random model of the
  role. Pairs are not independent, as the models of a split share their training half and a sample
  is in every split; Clopper-Pearson bounds therefore take effective counts, see `_effective`. The
  negative pairs of a sample weigh as much as its positive ones: epsilon speaks of each sample, so
  both rates must be of the same mixture of samples.

  Args:
    scores: [M, N], larger speaks for the positive role; NaN says nothing.
    roles: int8 [M, N].
    splits: the split of each model, [M].
    samples: index array or bool mask of the samples to use, a stratum; None for all.
    seed: of the halves of the splits and of the models picked.

  Raises:
    DataError: shapes do not fit, or a half has pairs of a role in fewer than two splits.
  """
  check_options(level, delta)
  _check_shapes(scores, roles, np.asarray(splits))
  columns = slice(None) if samples is None else samples
  rng = np.random.default_rng(seed)
  numbers = np.unique(splits, return_inverse=True)[1]
  sides = [_pairs(scores, roles, numbers, columns, role, rng) for role in (positive, negative)]
  sides = _weighted(*sides)
  order = rng.permutation(numbers.max() + 1)
  chooses = np.isin(np.arange(len(order)), order[: len(order) // 2])
  halves = [[_of(pairs, half) for pairs in sides] for half in (chooses, ~chooses)]
  for half in halves:
    _refuse_thin(half, (positive, negative))
  threshold, direction = _best(halves[0], level, delta)
  counts = [_count(pairs, threshold, level) for pairs in halves[1]]
  return _report(*counts, threshold, direction, level, delta)


class _Pairs(NamedTuple):
  """The pairs of a role by ascending score: score, split, sample and weight, [n] each."""

  score: np.ndarray
  split: np.ndarray
  sample: np.ndarray
  weight: np.ndarray


class _Count(NamedTuple):
  """The pairs of a role, their effective number, and the share above a threshold with bounds."""

  n: int
  effective: float
  above: float
  low: float
  high: float


def _pairs(scores, roles, numbers, columns, role: int, rng: np.random.Generator) -> _Pairs:
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
  return _Pairs(score[order], split[order], sample[order], np.ones(len(score)))


def _weighted(positives: _Pairs, negatives: _Pairs) -> list[_Pairs]:
  """Weigh negatives so that each sample has as much of both roles; drop samples that lack one."""
  size = 1 + max((int(p.sample.max()) for p in (positives, negatives) if len(p.sample)), default=0)
  n, m = (np.bincount(p.sample, minlength=size) for p in (positives, negatives))
  worth = np.where((n > 0) & (m > 0), n / np.maximum(m, 1), 0.0)
  result = []
  for pairs, weight in ((positives, worth > 0), (negatives, worth)):
    weight = weight[pairs.sample].astype(float)
    result.append(_of(pairs._replace(weight=weight), weight > 0, by_split=False))
  return result


def _of(pairs: _Pairs, chosen: np.ndarray, by_split: bool = True) -> _Pairs:
  """Return the chosen pairs, or those of the chosen splits."""
  chosen = chosen[pairs.split] if by_split else chosen
  return _Pairs(*(column[chosen] for column in pairs))


def _best(sides: list[_Pairs], level: float, delta: float) -> tuple[float, int]:
  """Return the threshold and the index of the direction with the largest bound."""
  best = (-np.inf, 0.0, 0)
  for threshold in np.unique(np.concatenate([_candidates(pairs.score) for pairs in sides])):
    rates = _rates(*(_count(pairs, threshold, level) for pairs in sides))
    bounds = [float(_log_ratio(*pair, delta)) for pair in rates]
    direction = int(np.argmax(bounds))
    best = max(best, (bounds[direction], float(threshold), direction))
  return best[1:]


def _candidates(ordered: np.ndarray) -> np.ndarray:
  """Return the scores at ranks from both ends that grow in equal ratios: bounds live in tails."""
  rank = np.unique(np.geomspace(1, len(ordered), _RANKS).astype(int)) - 1
  return np.concatenate([ordered[rank], ordered[::-1][rank]])


def _rates(positives: _Count, negatives: _Count) -> list[tuple[float, float]]:
  """Return for each direction the upper bounds of both errors, that of the rarer event first."""
  high = negatives.high, 1 - positives.low
  low = 1 - negatives.low, positives.high
  return [high, high[::-1], low, low[::-1]]


def _count(pairs: _Pairs, threshold: float, level: float) -> _Count:
  """Bound the share of the pairs above a threshold."""
  cut = int(np.searchsorted(pairs.score, threshold, side="right"))
  above = float(pairs.weight[cut:].sum() / pairs.weight.sum())
  effective = _effective(pairs, cut, level)
  bounds = clopper_pearson(above * effective, effective, level)
  return _Count(len(pairs.score), effective, above, *map(float, bounds))


def _effective(pairs: _Pairs, cut: int, level: float) -> float:
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


def _design_effect(pairs: _Pairs, cut: int) -> float:
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


def _report(positives, negatives, threshold, direction, level, delta) -> EpsilonBound:
  """Bound epsilon by the measured rates."""
  rates = _rates(positives, negatives)
  fpr, fnr = negatives.above, 1 - positives.above
  if direction > 1:
    fpr, fnr = 1 - fpr, 1 - fnr
  mu = float(gdp_mu(*rates[direction - direction % 2]))
  return EpsilonBound(
    low=max(0.0, float(_log_ratio(*rates[direction], delta))),
    ceiling=float(epsilon_ceiling(positives.effective, negatives.effective, level, delta)),
    threshold=threshold,
    direction=DIRECTIONS[direction],
    fpr=fpr,
    fnr=fnr,
    members=positives.n,
    others=negatives.n,
    effective_members=positives.effective,
    effective_others=negatives.effective,
    mu=mu,
    epsilon_gdp=gdp_epsilon(mu, delta) if delta > 0 else np.nan,
  )


def _log_ratio(rare, miss, delta: float) -> np.ndarray:
  """Return `log(1 - miss - delta) - log rare`, -inf where nothing is left of the first."""
  left = 1 - np.asarray(miss, float) - delta
  with np.errstate(divide="ignore"):
    return np.where(left > 0, np.log(np.where(left > 0, left, 1)) - np.log(rare), -np.inf)


def _check_shapes(scores: np.ndarray, roles: np.ndarray, splits: np.ndarray) -> None:
  if scores.ndim != 2 or scores.shape != roles.shape or splits.shape != scores.shape[:1]:
    raise DataError(
      f"scores {scores.shape}, roles {roles.shape} and splits {splits.shape} do not belong "
      "together; expected [M, N], [M, N] and [M]"
    )


def _refuse_thin(half: list[_Pairs], roles: tuple[int, int]) -> None:
  for pairs, role in zip(half, roles):
    found = len(np.unique(pairs.split))
    if found < 2:
      raise DataError(
        f"role '{NAMES.get(role, role)}' has scores in {found} splits of one half; expected at "
        "least 2, so give more splits, or more samples that have both roles"
      )


def check_options(level: float = 0.5, delta: float = 0.0) -> None:
  """Refuse a confidence level outside (0, 1) or a delta outside [0, 1)."""
  if not 0 < level < 1:
    raise ValueError(f"level must lie between 0 and 1, got {level}")
  if not 0 <= delta < 1:
    raise ValueError(f"delta must be at least 0 and below 1, got {delta}")
