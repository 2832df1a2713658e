"""Independent draws without optuna: one search of one method."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmu.search.sampler import Hp
from jaxmu.search.space import Space
from jaxmu.training.hyper import Distribution


class RandomDraws:
  """A search that draws each trial on its own, from a seed and the trial's number alone."""

  def __init__(self, space: Space, seed: int):
    self.space, self._seed = space, seed
    self._given: list[Mapping[str, Any]] = []
    self._asked = 0

  def first(self, given: Sequence[Mapping[str, Any]]) -> None:
    """Have these configurations tried before any is drawn, cut to the ranges."""
    self._given += given

  def ask(self, count: int) -> list[Hp]:
    """Return complete hyper-parameters of that many trials."""
    numbers = range(self._asked, self._asked + count)
    self._asked += count
    return [self._trial(number) for number in numbers]

  def tell(self, values: Sequence[np.ndarray]) -> None:
    """Learn nothing."""

  def _trial(self, number: int) -> Hp:
    rng = np.random.default_rng([self._seed, number])
    drawn = {name: self._draw(rng, name, each) for name, each in self.space.drawn.items()}
    if number < len(self._given):
      given = self._given[number]
      drawn |= {name: self.space.inside(name, given[name]) for name in drawn if name in given}
    return self.space.complete(drawn)

  def _draw(self, rng: np.random.Generator, name: str, each: Distribution) -> Any:
    high = self.space.high(name)
    if each.kind == "categorical":
      return each.choices[int(rng.integers(len(each.choices)))]
    if each.kind == "integer":
      return int(rng.integers(int(each.low), int(high) + 1))
    if each.kind == "log_uniform":
      return float(math.exp(rng.uniform(math.log(each.low), math.log(high))))
    return float(rng.uniform(each.low, high))
