"""Epsilon, bounded from below with confidence by what an attack gets right.

Were models that forgot a sample (epsilon, delta)-indistinguishable from models that never saw it,
no event could be more than exp(epsilon) times likelier for one of them, up to delta. Rates that
contradict this refute epsilon. Shapes: M models, N samples.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from jaxmu.audit.attacks.epsilon_pairs import Pairs, candidates, halves, share_above
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER

DIRECTIONS = ("positives above", "negatives below", "positives below", "negatives above")


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
  role. Pairs are not independent: Clopper-Pearson bounds take effective counts (`epsilon_pairs`).
  The negative pairs of a sample weigh as much as its positive ones: epsilon speaks of each sample,
  so both rates must be of the same mixture of samples.

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
  chosen, measured = halves(scores, roles, splits, (positive, negative), samples, seed)
  threshold, direction = _best(chosen, level, delta)
  counts = [_count(pairs, threshold, level) for pairs in measured]
  return _report(*counts, threshold, direction, level, delta)


class _Count(NamedTuple):
  """The pairs of a role, their effective number, and the share above a threshold with bounds."""

  n: int
  effective: float
  above: float
  low: float
  high: float


def _best(sides: list[Pairs], level: float, delta: float) -> tuple[float, int]:
  """Return the threshold and the index of the direction with the largest bound."""
  best = (-np.inf, 0.0, 0)
  for threshold in np.unique(np.concatenate([candidates(pairs) for pairs in sides])):
    rates = _rates(*(_count(pairs, threshold, level) for pairs in sides))
    bounds = [float(_log_ratio(*pair, delta)) for pair in rates]
    direction = int(np.argmax(bounds))
    best = max(best, (bounds[direction], float(threshold), direction))
  return best[1:]


def _rates(positives: _Count, negatives: _Count) -> list[tuple[float, float]]:
  """Return for each direction the upper bounds of both errors, that of the rarer event first."""
  high = negatives.high, 1 - positives.low
  low = 1 - negatives.low, positives.high
  return [high, high[::-1], low, low[::-1]]


def _count(pairs: Pairs, threshold: float, level: float) -> _Count:
  """Bound the share of the pairs above a threshold."""
  above, effective = share_above(pairs, threshold, level)
  bounds = clopper_pearson(above * effective, effective, level)
  return _Count(len(pairs.score), effective, above, *map(float, bounds))


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


def check_options(level: float = 0.5, delta: float = 0.0) -> None:
  """Refuse a confidence level outside (0, 1) or a delta outside [0, 1)."""
  if not 0 < level < 1:
    raise ValueError(f"level must lie between 0 and 1, got {level}")
  if not 0 <= delta < 1:
    raise ValueError(f"delta must be at least 0 and below 1, got {delta}")
