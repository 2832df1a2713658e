"""From a method's declared ranges to configurations: what a search draws, and what that means."""

import math
from collections.abc import Mapping
from typing import Any

from jaxmu.settings import Settings
from jaxmu.training.hyper import Distribution
from jaxmu.training.method import Method
from jaxmu.unlearning import chosen

REFERENCE = "reference"
LONGEST = 0.2  # of training's epochs: the most that unlearning may take (spec evaluation 6.3)


class Space:
  """What a search draws for one method; hyper-parameters that nobody reads are left out."""

  def __init__(
    self,
    method: Method,
    training_epochs: int,
    ranges: str = "amended",
    own: Mapping[str, Distribution] | None = None,
  ):
    """Resolve ranges: those of the reference, or methods.md 10.4's where it amends them.

    Args:
      own: in place of either, or for what neither draws; constants may be of any type.
    """
    self.method, self.longest = method, math.ceil(LONGEST * training_epochs)
    own = own or {}
    chosen = {
      name: each.search if ranges == REFERENCE else each.amended or each.search
      for name, each in method.live.items()
    }
    chosen = {name: own.get(name, each) for name, each in chosen.items()}
    self.distributions = {name: each for name, each in chosen.items() if each is not None}

  @classmethod
  def of(cls, settings: Settings, method: str) -> "Space":
    """Return what a config's search draws for a method."""
    return cls(chosen(settings, method), settings.training.num_epochs, settings.search.ranges)

  @property
  def key(self) -> tuple[Any, ...]:
    """What tells it from other spaces; hashable."""
    return self.method, self.longest, tuple(self.distributions.items())

  @property
  def drawn(self) -> dict[str, Distribution]:
    """What is drawn at random: all but constants, in the order of the method."""
    return {n: each for n, each in self.distributions.items() if each.kind != "constant"}

  def high(self, name: str) -> float:
    """Return the upper bound of a hyper-parameter, E_max resolved."""
    high = self.distributions[name].high
    return float(self.longest) if high is None else high

  def inside(self, name: str, value: Any) -> Any:
    """Return a value as a draw has it: a tuple of one as its number, within its range."""
    each, value = self.distributions[name], value[0] if isinstance(value, tuple | list) else value
    if each.choices:
      return value if value in each.choices else min(each.choices, key=lambda c: abs(c - value))
    return type(value)(min(max(value, each.low), self.high(name)))

  def complete(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return all hyper-parameters of a draw: constants, bounds by others, and defaults.

    A drawn value above the hyper-parameter that bounds it becomes equal to it, and one below what
    the method reads (a temperature of 0 in the reference's range) the least that it does.
    """
    values = dict(drawn)
    for name, each in self.distributions.items():
      if each.kind == "constant":
        values[name] = each.low
      if isinstance(values[name], int | float):
        values[name] = max(values[name], self.method.hyper[name].within.low)
    for name, each in self.distributions.items():
      if each.at_most:
        values[name] = min(values[name], values[each.at_most])
    return self.method.hyperparameters(values)
