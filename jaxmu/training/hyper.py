"""Hyper-parameters as values: default, range, and what a search draws from (methods.md 0.6).

Config, command line, Python, listing, documentation and search all read these values.
"""

import dataclasses
from typing import Any

from jaxmu.settings.ranges import (
  BELOW_ONE,
  EPOCHS,
  FINITE,
  NOT_NEGATIVE,
  POSITIVE,
  SAMPLES,
  UNIT,
  Range,
  Unfit,
  fit,
)


@dataclasses.dataclass(frozen=True)
class Distribution:
  """Where a search draws a hyper-parameter from.

  Attributes:
    kind: "uniform", "log_uniform", "integer", "categorical" or "constant".
    low, high: bounds, inclusive; `high=None` stands for E_max, a fifth of training.
    choices: of a categorical.
    at_most: name of a hyper-parameter that bounds this one from above.
  """

  kind: str
  low: float = 0.0
  high: float | None = 1.0
  choices: tuple[float, ...] = ()
  at_most: str = ""

  def __str__(self) -> str:
    """Write the range as a reader expects it, `LogU[1e-05, 0.1]`."""
    if self.kind == "categorical":
      return "{" + ", ".join(map(str, self.choices)) + "}"
    if self.kind == "constant":
      return f"always {self.low:g}"
    name = {"uniform": "U", "log_uniform": "LogU", "integer": "integer U"}[self.kind]
    high = "E_max" if self.high is None else f"{self.high:g}"
    bound = f", at most {self.at_most}" if self.at_most else ""
    return f"{name}[{self.low:g}, {high}]{bound}"


@dataclasses.dataclass(frozen=True)
class Hyper:
  """One hyper-parameter of a method.

  Attributes:
    default: its default value, whose type is the type of the hyper-parameter: a number, an option
      (bool, or str), or a tuple of numbers.
    within: the interval of its numbers.
    search: what the reference's search draws it from; None where it is never searched.
    amended: what methods.md 10.4 recommends in place of `search`; None where they agree.
    static: True where all members of a population share it. Options always are.
    choices: the values that an option may take.
    dead: True where the reference accepts it and never reads it; so do we.
  """

  default: Any = None
  within: Range = FINITE
  search: Distribution | None = None
  amended: Distribution | None = None
  static: bool = False
  choices: tuple[bool | str, ...] = ()
  dead: bool = False

  def read(self, given: Any) -> Any:
    """Return a given value in the type of the default, checked.

    A number stays what it is: 1 given for 1.0 becomes 1.0, and 0.1 keeps all its digits. A single
    number serves as a tuple of one.

    Raises:
      Unfit: whose text says what was expected, as in "a number above 0".
    """
    if self.choices:
      if type(given) is not type(self.default) or given not in self.choices:
        raise Unfit(f"one of {', '.join(map(str, self.choices))}")
      return given
    if isinstance(self.default, tuple):
      values = tuple(given) if isinstance(given, tuple | list) else (given,)
      if not values:
        raise Unfit("one number or more")
      return tuple(fit(value, type(self.default[0]), self.within) for value in values)
    return fit(given, type(self.default), self.within)


WARM = Range(1e-6)  # below, logits divided by a temperature overflow
DEAD = Hyper(dead=True)
EPOCHS_SEARCHED = Distribution("integer", 1, None)
BATCHES = Distribution("categorical", choices=(64, 128, 256))


def rate(default: float | tuple[float, ...]) -> Hyper:
  """Return a learning rate (LR), or a list of them."""
  return Hyper(default, POSITIVE, Distribution("log_uniform", 1e-5, 1e-1))


def mom(default: float) -> Hyper:
  """Return a momentum (MOM): below 1, and never searched but always 0.9 in the reference."""
  return Hyper(default, BELOW_ONE, Distribution("constant", 0.9, 0.9))


def decay(default: float) -> Hyper:
  """Return a weight decay (WD), or the weight of a penalty that the reference calls so."""
  return Hyper(default, NOT_NEGATIVE, Distribution("log_uniform", 1e-5, 1e-1))


def batch(default: int, search: Distribution | None = BATCHES) -> Hyper:
  """Return a batch size (BS)."""
  return Hyper(default, SAMPLES, search, static=True)


def epochs(
  default: float,
  within: Range = EPOCHS,
  search: Distribution = EPOCHS_SEARCHED,
  amended: Distribution | None = None,
) -> Hyper:
  """Return a number of epochs (EP), at least 1 unless told otherwise; whole if `default` is."""
  return Hyper(default, within, search, amended)


def share(default: float) -> Hyper:
  """Return a fraction or a weight between 0 and 1 (U01)."""
  return Hyper(default, UNIT, Distribution("uniform", 0.0, 1.0))


def strength(default: float, amended: Distribution | None = None) -> Hyper:
  """Return a strength of 0 or more, a standard deviation say, that is searched up to 1 (SIG)."""
  return Hyper(default, NOT_NEGATIVE, Distribution("uniform", 0.0, 1.0), amended)


def temperature(default: float) -> Hyper:
  """Return a softmax temperature (TEMP); the reference searches from 0, where it divides by 0."""
  return Hyper(default, WARM, Distribution("uniform", 0.0, 5.0), Distribution("uniform", 0.1, 5.0))


def option(default: bool | str, *choices: bool | str) -> Hyper:
  """Return an option: static, one of `choices`."""
  return Hyper(default, choices=choices, static=True)


def training(
  learning_rate: float,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
  batch_size: int = 256,
  num_epochs: int = 5,
) -> dict[str, Hyper]:
  """Return the five hyper-parameters of training with SGD, given their defaults."""
  return {
    "learning_rate": rate(learning_rate),
    "momentum": mom(momentum),
    "weight_decay": decay(weight_decay),
    "batch_size": batch(batch_size),
    "num_epochs": epochs(num_epochs),
  }
