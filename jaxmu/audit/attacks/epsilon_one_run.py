"""Epsilon, bounded from below with confidence by guesses about one training (or unlearning) run.

Each of m samples is included with probability one half, by its own coin. An attacker who sees the
scores of that one run guesses for some of them whether they were included, and abstains from the
rest. Privacy limits how many guesses can be right.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special, stats

from jaxmu.audit.attacks.epsilon import check_options, gdp_epsilon
from jaxmu.errors import DataError

_PRECISION = 1e-9
_SHARES = (1, 2, 4, 8, 16, 32)  # m over the number of guesses, when several are tried


def epsilon_one_run(
  m: int, guesses: int, correct: int, *, level: float = 0.95, delta: float = 0.0
) -> float:
  """Return the largest epsilon that `correct` of `guesses` refute at confidence `level`.

  The p-value of (epsilon, delta)-DP is `P[B >= v] + 2 m delta max_i P[v > B >= v - i] / i`, B ~
  Binomial(guesses, exp(epsilon) / (1 + exp(epsilon))) and v = correct (Steinke, Nasr and Jagielski
  2023, arXiv 2305.08846). 1000 of 1000 give 5.81, 100 of 100 give 3.49 and 550 of 1000
  give 0.09 for delta 0.

  Args:
    m: samples that were included or not by a coin, those without a guess too.

  Raises:
    ValueError: not 0 <= correct <= guesses <= m.
  """
  _check_counts(m, guesses, correct, level, delta)
  return _largest(lambda e: _p_value(m, guesses, correct, e, delta) < 1 - level)


def epsilon_one_run_scores(
  members: np.ndarray,
  others: np.ndarray,
  *,
  guesses: int | Sequence[int] | None = None,
  level: float = 0.95,
  delta: float = 0.0,
  seed: int = 0,
) -> float:
  """Return the one-run bound on epsilon of an attacker who guesses where scores are extreme.

  Of g guesses, the higher half are "member" for the highest scores, the rest "other" for the lowest
  ones. Valid only if a fair coin of its own put each sample on its side.

  Args:
    members: scores of the included samples; larger speaks for inclusion, [n].
    others: scores of the samples left out, [m - n].
    guesses: how many, decided before looking at the scores. Of several numbers, each is tested at
      its share of 1 - level (Bonferroni) and the best bound returned. None: m, m/2, ... m/32.
    seed: of the order of equal scores, which must not depend on the side.

  Raises:
    DataError: scores are not one-dimensional, or NaN.
    ValueError: a number of guesses outside [1, m].
  """
  members, others = np.asarray(members, float), np.asarray(others, float)
  scores = _joined(members, others)
  m = len(scores)
  tried = [m // share for share in _SHARES if m >= share] if guesses is None else guesses
  tried = np.unique(tried)
  if not (len(tried) and tried[0] >= 1 and tried[-1] <= m):
    raise ValueError(f"guesses must be numbers from 1 to {m} (the samples), got {guesses}")
  shuffled = np.random.default_rng(seed).permutation(m)
  order = shuffled[np.argsort(scores[shuffled], kind="stable")]
  member = order < len(members)
  each = 1 - (1 - level) / len(tried)
  return max(
    epsilon_one_run(m, int(g), _correct(member, int(g)), level=each, delta=delta) for g in tried
  )


def gdp_one_run(m: int, guesses: int, correct: int, *, level: float = 0.95, delta: float) -> float:
  """Return the epsilon at delta of the largest mu whose Gaussian DP the guesses refute.

  Sharper than `epsilon_one_run`, but for mechanisms with that trade-off curve only (Mahloujifar,
  Melis and Chaudhuri 2024, arXiv 2410.22235). Arguments as in `epsilon_one_run`.

  Raises:
    ValueError: not 0 <= correct <= guesses <= m, or delta 0, where epsilon is infinite.
  """
  _check_counts(m, guesses, correct, level, delta)
  if delta == 0:
    raise ValueError("delta must be above 0: Gaussian DP has no finite epsilon at delta 0")
  mu = _largest(lambda mu: _refuted(m, guesses, correct, mu, 1 - level))
  return gdp_epsilon(mu, delta)


def _p_value(m: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
  """Return a bound of the probability of so many right guesses under (epsilon, delta)-DP."""
  if correct == 0:
    return 1.0
  law = stats.binom(guesses, special.expit(epsilon))
  tail = float(law.sf(correct - 1))
  if delta == 0:
    return tail
  below = np.arange(1, correct + 1)
  slope = ((law.sf(correct - 1 - below) - tail) / below).max()
  return min(tail + 2 * m * delta * float(slope), 1.0)


def _refuted(m: int, guesses: int, correct: int, mu: float, alpha: float) -> bool:
  """Return whether `correct` or more right guesses have a probability below alpha under mu-GDP.

  Were it alpha, then cases with at least i right guesses would hold shares of right and of wrong
  guesses, per sample, that are tied to those with i + 1 by the trade-off curve: the wrong ones are
  at least Phi(Phi^-1(right) - mu). Going down to i = 0, more guesses than were made refute it.
  """
  right, wrong = alpha * correct / m, alpha * (guesses - correct) / m
  for i in range(correct - 1, -1, -1):
    least = float(special.ndtr(special.ndtri(right) - mu))
    if least <= wrong:
      break  # nothing changes any more
    right, wrong = min(right + i / (guesses - i) * (least - wrong), 1.0), least
  return right + wrong > guesses / m


def _largest(refuted: Callable[[float], bool]) -> float:
  """Return the largest x that is refuted, to 1e-9 from below; 0 if none is."""
  if not refuted(0.0):
    return 0.0
  low, high = 0.0, 1.0
  while refuted(high):
    low, high = high, 2 * high
  while high - low > _PRECISION:
    middle = (low + high) / 2
    low, high = (middle, high) if refuted(middle) else (low, middle)
  return low


def _joined(members: np.ndarray, others: np.ndarray) -> np.ndarray:
  if members.ndim != 1 or others.ndim != 1:
    raise DataError(f"members {members.shape} and others {others.shape} must be one-dimensional")
  scores = np.concatenate([members, others])
  if np.isnan(scores).any():
    raise DataError(
      f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN; expected a score of every "
      "sample, so replace them by one that says nothing, such as the median"
    )
  return scores


def _correct(member: np.ndarray, guesses: int) -> int:
  """Count right guesses; `member` [m] says who was included, by ascending score."""
  low = guesses // 2
  high = len(member) - (guesses - low)
  return int((~member[:low]).sum() + member[high:].sum())


def _check_counts(m: int, guesses: int, correct: int, level: float, delta: float) -> None:
  check_options(level, delta)
  if not 0 <= correct <= guesses <= m or m < 1:
    raise ValueError(
      "counts must satisfy 0 <= correct <= guesses <= m and m >= 1, got "
      f"correct={correct}, guesses={guesses}, m={m}"
    )
