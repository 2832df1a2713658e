"""Intervals for statements about other samples and other initialisations, and for differences.

Members (seeds) and samples are crossed: every member is attacked on the same samples, or on sets of
its own drawn from one data set. Resampling members alone says how much initialisation moves a
number, and nothing about the luck of the samples, which no member escapes.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxmu.audit.attacks.crossed import Interval

LEVEL = 0.95


class Fitting(NamedTuple):
  """How much fitting an attack by cross-validation adds to the variance over samples.

  `near` where the attack is about one half and folds may disagree, `far` where they cannot.
  Measured on simulated studies (bench/coverage.py); 1 adds nothing.
  """

  near: float = 1.0
  far: float = 1.0


EXACT = Fitting()


def two_way(
  values: np.ndarray,
  influence: np.ndarray,
  *,
  level: float = LEVEL,
  fitting: Fitting = EXACT,
  chance: float = math.nan,
) -> Interval:
  """Return the mean over members with an interval over members and samples.

  Variances add up as `samples + members - cells` (Cameron, Gelbach and Miller 2011, "Robust
  inference with multiway clustering"); the t quantile has Satterthwaite's degrees of freedom, as a
  few members say little about their own spread. One member gives an interval over samples alone.

  Args:
    values: [K], one per member; members with NaN are left out.
    influence: how much each sample moves each member's value, [K, N], rows summing to zero; 0 for
      samples that play no part.
    fitting: what cross-validation adds, and `chance`, about which it does.
  """
  kept = np.isfinite(values)
  values, influence = values[kept], influence[kept]
  members = len(values)
  if not members:
    return Interval(math.nan, math.nan, math.nan)
  value = float(values.mean())
  samples = np.square(influence.sum(0, dtype=float)).sum() / members**2
  cells = np.square(influence, dtype=float).sum() / members**2
  spread = values.var(ddof=1) / members if members > 1 else 0.0
  samples *= _inflation(value, samples + max(0.0, spread - cells), fitting, chance)
  more = max(0.0, spread - cells)
  variance = samples + more
  freedom = variance**2 / (more**2 / (members - 1)) if more else math.inf
  reach = stats.t.ppf((1 + level) / 2, freedom) * math.sqrt(variance) if variance else 0.0
  return Interval(value, value - reach, value + reach)


def _inflation(value: float, variance: float, fitting: Fitting, chance: float) -> float:
  """Return the factor of the variance over samples: `near` to four errors off chance `far`."""
  if math.isnan(chance) or not variance:
    return fitting.near
  off = abs(value - chance) / math.sqrt(variance)
  return fitting.far + (fitting.near - fitting.far) * min(1.0, max(0.0, 4 - off))


def over_members(values: np.ndarray, level: float = LEVEL) -> Interval:
  """Return the mean of values [K] with the t interval over members alone."""
  values = values[np.isfinite(values)]
  if len(values) < 2:
    return Interval(float(values.mean()) if len(values) else math.nan, math.nan, math.nan)
  mean, error = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
  reach = stats.t.ppf((1 + level) / 2, len(values) - 1) * error
  return Interval(float(mean), float(mean - reach), float(mean + reach))
