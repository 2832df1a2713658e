"""Ask for configurations and tell what they achieved: one search of one method on one seed.

Draws depend on the seed and on what was told, on nothing else. So a search that goes on after a
stop is made anew, asked and told the same, and asks for the same configurations as before.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jaxmu.audit.formulas import search_score
from jaxmu.search.space import Space
from jaxmu.training.hyper import Distribution

if TYPE_CHECKING:
  import optuna

Hp = dict[str, Any]
OBJECTIVES = 4
_BEGINNINGS: dict[tuple[Any, ...], list[Hp]] = {}


class Searching(Protocol):
  """What is asked for configurations, and told what they achieved."""

  def ask(self, count: int) -> list[Hp]:
    """Return complete hyper-parameters of that many trials."""
    ...

  def tell(self, values: Sequence[np.ndarray]) -> None:
    """Say what the last trials achieved, in their order: [trials, 4], inf for failures."""
    ...


class Fixed:
  """A search that draws nothing: its configurations are given, and repeat."""

  def __init__(self, given: Sequence[Hp]):
    self.given = given

  def ask(self, count: int) -> list[Hp]:
    """Return as many of the configurations as asked for."""
    return [self.given[k % len(self.given)] for k in range(count)]

  def tell(self, values: Sequence[np.ndarray]) -> None:
    """Learn nothing."""


class Search:
  """Configurations of one method, drawn batch by batch.

  "nsga3" is the reference's sampler (spec evaluation 6.2) on the four values of the objective; a
  batch is one of its generations. "tpe" minimises their norm, "random" draws.
  """

  def __init__(self, space: Space, sampler: str, seed: int, batch: int):
    self.space = space
    self._recipe = sampler, seed, batch
    self._single = sampler == "tpe"
    self._given: list[dict[str, Any]] = []
    self._open: list[optuna.trial.Trial] = []
    self._behind = 0  # trials that were looked up, and not drawn yet

  def first(self, given: Sequence[Mapping[str, Any]]) -> None:
    """Have these configurations tried before any is drawn, as far as they are drawn, in range."""
    for values in given:
      known = {n: self.space.inside(n, values[n]) for n in self.space.drawn if n in values}
      self._given.append(known)

  def ask(self, count: int) -> list[Hp]:
    """Return complete hyper-parameters of that many trials.

    Searches that are alike begin alike: the first batch is drawn once for all of them.
    """
    self._catch_up()
    if "_study" in vars(self):
      return self._draw(count)
    given = tuple(tuple(known.items()) for known in self._given)
    key = (*self._recipe, self.space.key, given, count)
    if key in _BEGINNINGS:
      self._behind = count
    else:
      _BEGINNINGS[key] = self._draw(count)
    return list(_BEGINNINGS[key])

  def tell(self, values: Sequence[np.ndarray]) -> None:
    """Say what the last trials achieved, in their order: [trials, 4], inf for failures."""
    self._catch_up()
    for trial, found in zip(self._open, values, strict=True):
      told = [search_score(found)] if self._single else [float(value) for value in found]
      self._study.tell(trial, told)
    self._open = []

  @functools.cached_property
  def _study(self) -> "optuna.Study":
    made = _study(*self._recipe)
    for known in self._given:
      made.enqueue_trial(known)
    return made

  def _draw(self, count: int) -> list[Hp]:
    found = []
    for _ in range(count):
      trial = self._study.ask()
      self._open.append(trial)
      drawn = {name: self._suggest(trial, name, each) for name, each in self.space.drawn.items()}
      found.append(self.space.complete(drawn))
    return found

  def _catch_up(self) -> None:
    """Draw what was looked up: what comes next depends on it."""
    count, self._behind = self._behind, 0
    self._draw(count)

  def _suggest(self, trial: "optuna.trial.Trial", name: str, each: Distribution) -> Any:
    high = self.space.high(name)
    if each.kind == "categorical":
      return trial.suggest_categorical(name, each.choices)
    if each.kind == "integer":
      return trial.suggest_int(name, int(each.low), int(high))
    return trial.suggest_float(name, each.low, high, log=each.kind == "log_uniform")


def _study(sampler: str, seed: int, batch: int) -> "optuna.Study":
  import optuna

  optuna.logging.set_verbosity(optuna.logging.WARNING)
  directions: list[Any] = ["minimize"] * (1 if sampler == "tpe" else OBJECTIVES)
  with warnings.catch_warnings():  # parts of it are marked as experimental
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
      "nsga3": lambda: optuna.samplers.NSGAIIISampler(seed=seed, population_size=batch),
      "tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
      "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    return optuna.create_study(directions=directions, sampler=made[sampler]())
