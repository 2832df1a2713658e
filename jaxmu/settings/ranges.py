"""What a number may be: an interval that says itself in words. Config entries and hyper-parameters
are declared with it, so that a range cannot differ between the doors.
"""

import math
import numbers
from typing import Any, NamedTuple

KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


class Range(NamedTuple):
  """An interval of numbers; open ends are excluded."""

  low: float = -math.inf
  high: float = math.inf
  low_open: bool = False
  high_open: bool = False

  def holds(self, number: float) -> bool:
    """Tell whether a number lies inside; NaN and infinities never do."""
    above = number > self.low if self.low_open else number >= self.low
    below = number < self.high if self.high_open else number <= self.high
    return above and below and -math.inf < number < math.inf  # of any size, unlike `isfinite`

  def __str__(self) -> str:
    """Say it in words, for messages: "at least 0 and below 1"."""
    if self.low == -math.inf:
      return "that is finite" if self.high == math.inf else f"at most {self.high:.10g}"
    text = f"{'above' if self.low_open else 'at least'} {self.low:.10g}"
    if self.high < math.inf:
      text += f" and {'below' if self.high_open else 'at most'} {self.high:.10g}"
    return text


# Counts end where no machine goes: what lies beyond is a slip of the keyboard, and would end in an
# integer overflow after hours of training.
EPOCHS = Range(1, 1_000_000)
SAMPLES = Range(1, 10_000_000)  # of a batch
POSITIONS = Range(0, 2**31 - 1)  # samples of a data set: their positions are int32
WIDTH = Range(1, 65_536)
CHUNK = Range(1, 4_096)  # members of one vmap
MEMBERS = Range(1, 65_536)
DEVICES = Range(0, 1_024)  # of one machine
RESAMPLES = Range(1, 1_000_000)
SHADOW_SPLITS = Range(2, 10_000)  # only models of other splits never saw a sample
FORGET_SETS = Range(1, 1_000)
SEARCHED_SPLITS = Range(0, 10_000)
GPUS = Range(0, 64)  # of one task on one machine
CORES = Range(1, 4_096)
MINUTES = Range(0, 100_000)
ARRAY = Range(0, 100_000)  # tasks of one array
DRAWS = Range(1, 1_000)  # forget sets of a seed
ROUNDS = Range(1, 1_000)
TRIALS = Range(1, 100_000)  # of a search
CANDIDATES = Range(0, 1_000)  # of them those that run again
FINITE = Range()
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, low_open=True)
UNIT = Range(0, 1)
OPEN_UNIT = Range(0, 1, low_open=True, high_open=True)
SHARE = Range(0, 1, low_open=True)
BELOW_ONE = Range(0, 1, high_open=True)
SEED = Range(0, 2**32 - 1)


class Unfit(ValueError):
  """A value that is not what was declared; the text says what was expected."""


def fit(given: Any, kind: type, within: Range | None = None) -> Any:
  """Return a value as `kind` (int, float, bool or str), checked.

  A whole number serves as a float, a bool as no number. Raises Unfit.
  """
  number = not isinstance(given, bool)
  if kind is float and number and isinstance(given, numbers.Real):
    clean = _float(given)
  elif kind is int and number and isinstance(given, numbers.Integral):
    clean = int(given)
  elif kind in (bool, str) and isinstance(given, kind):
    clean = given
  else:
    raise Unfit(KINDS[kind])
  if within is not None and not within.holds(clean):
    raise Unfit(f"{KINDS[kind]} {within}")
  return clean


def _float(given: numbers.Real) -> float:
  try:
    return float(given)
  except OverflowError:  # an int beyond 1e308
    return math.inf if given > 0 else -math.inf
