"""What an attack could have seen: the accuracy from which sets of a size tell it from guessing.

An attack that finds nothing shows little where it could not have found much.
"""

import math

from scipy import stats

from jaxmu.audit.results import LEVEL

# By how much the variance of an attack that guesses exceeds that of 2n independent guesses: folds
# overlap or are fitted. What the intervals of the package have on noise, for 60 to 600 samples a
# side; `T_AUC` has a formula.
_FITTED = {"T_MIA": 2.4, "V_MIA": 2.4}
_FIVE_FOLDS = 1.4
POWER = 0.8  # of a signal that is found reliably


def visible(metric: str, forget: int, unseen: int, level: float = LEVEL) -> float:
  """Return the smallest value of an attack whose interval leaves out one half.

  Two-sided. Several seeds on the same samples share their luck, so they do not help; seeds with
  samples of their own see more than this.

  Args:
    metric: a column of an attack: `T_MIA`, `T_AUC`, `T_strongest`, `T_margin` ...
    forget, unseen: samples a side. All but AUC use equally many of both.

  Not above 1, the value of an attack that is always right.
  """
  return min(1.0, 0.5 + _quantile(level) * standard_error(metric, forget, unseen))


def reliable(metric: str, forget: int, unseen: int, level: float = LEVEL) -> float:
  """Return the value that an attack must truly have to be seen in four of five evaluations.

  Of a true value of `visible` every second evaluation sees nothing. Arguments as there.
  """
  reach = _quantile(level) + float(stats.norm.ppf(POWER))
  return min(1.0, 0.5 + reach * standard_error(metric, forget, unseen))


def _quantile(level: float) -> float:
  return float(stats.norm.ppf((1 + level) / 2))


def standard_error(metric: str, forget: int, unseen: int) -> float:
  """Return the standard error of an attack that guesses; infinite without samples.

  Arguments as of `visible`.
  """
  if not min(forget, unseen):
    return math.inf
  if metric.endswith("_AUC"):  # of Mann and Whitney's statistic
    return math.sqrt((forget + unseen + 1) / (12 * forget * unseen))
  return 0.5 * math.sqrt(_FITTED.get(metric, _FIVE_FOLDS) / (2 * min(forget, unseen)))
