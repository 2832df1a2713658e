"""The contract of an unlearning method: a value that says what is done before, during and after.

Everything in it is written for ONE model and pure, so that a population maps it (methods.md 0.3).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from jaxmu.errors import MethodError, closest, shown
from jaxmu.settings.ranges import Unfit
from jaxmu.training.hyper import Hyper
from jaxmu.training.phase import Array, Hp, Options, Phase, Step, Variables

REFERENCE, FIXED = "reference", "fixed"
Sizes = Mapping[str, int]  # set -> number of its samples


class Prepare(Protocol):
  """What is done once, before the phases: resets, masks, noise, teachers."""

  def __call__(self, variables: Variables, step: Step) -> tuple[Variables, Any]:
    """Return the variables to start from, and `aux`: arrays that all later functions see."""
    ...


class Finish(Protocol):
  """A last change, after the phases."""

  def __call__(self, variables: Variables, step: Step) -> Variables:
    """Return the method's result."""
    ...


class Rewind(Protocol):
  """The choice of an earlier epoch of the only phase as the result."""

  def __call__(self, variables: Variables, step: Step) -> Array:
    """Return its number, int32; 0 keeps the last. The engine trains again up to there.

    `step.memory` is what the phase's hooks left.
    """
    ...


class Derive(Protocol):
  """Further numbers that a method computes on the host, in double precision."""

  def __call__(self, hp: Mapping[str, Any], sizes: Sizes) -> Mapping[str, Any]:
    """Return name -> number; they join `hp`, and are traced as it is."""
    ...


class Work(Protocol):
  """What `prepare` costs, so that run-time efficiency stays honest (evaluation.md 5)."""

  def __call__(self, hp: Hp, sizes: Sizes, options: Options) -> float:
    """Return its sample-passes: 1 for a sample's forward pass, 2 for a backward pass."""
    ...


class Inert(Protocol):
  """Whether a network lacks what a method acts on, so that it does less than its name says."""

  def __call__(self, module: Any, params: Any, options: Options) -> str:
    """Return what it finds none of, and what is left of it; "" where all is there."""
    ...


def keep(variables: Variables, step: Step) -> tuple[Variables, Any]:
  """Prepare nothing: the original's variables, no auxiliary arrays."""
  return variables, ()


def nothing(hp: Mapping[str, Any], sizes: Sizes) -> Mapping[str, Any]:
  """Derive nothing."""
  return {}


def no_samples(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Cost of a preparation that reads no data."""
  return 0.0


def acts(module: Any, params: Any, options: Options) -> str:
  """Find what it acts on in every network."""
  return ""


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
  """An unlearning method, or training itself.

  Attributes:
    name: registry name, as configs and commands spell it.
    label: the same as people write it, in tables and figures.
    title, summary, paper: full name, one-line idea, source.
    needs: the sets it may touch, of "retain", "forget", "val"; the others do not exist for it.
    hyper: name -> hyper-parameter, in the order in which a reader wants to see them.
    phases: (options) -> the phases. `options` holds all that is static, so `if` is allowed.
    prepare, finish, rewind, derive, inert: see their protocols.
    prepare_samples: what `prepare` costs.
    fidelity: the level of methods.md 0.2 that we take by default (its table 10.3).
    fidelities: levels that differ from one another; one entry where both coincide.
    oddities: what the reference does that a reader would not expect, and what we do.
    draws: name of each random draw that a caller may replace -> its form.
  """

  name: str
  label: str
  title: str
  summary: str
  paper: str
  needs: frozenset[str]
  hyper: Mapping[str, Hyper]
  phases: Callable[[Options], tuple[Phase, ...]]
  prepare: Prepare = keep
  derive: Derive = nothing
  finish: Finish | None = None
  rewind: Rewind | None = None
  prepare_samples: Work = no_samples
  inert: Inert = acts
  fidelity: str = REFERENCE
  fidelities: tuple[str, ...] = (REFERENCE,)
  oddities: str = ""
  draws: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def live(self) -> dict[str, Hyper]:
    """The hyper-parameters that are read."""
    return {name: each for name, each in self.hyper.items() if not each.dead}

  @property
  def defaults(self) -> dict[str, Any]:
    """Name -> default value, of those that are read."""
    return {name: each.default for name, each in self.live.items()}

  @property
  def static(self) -> frozenset[str]:
    """Names of the hyper-parameters that all members of a population share."""
    return frozenset(name for name, each in self.live.items() if each.static)

  def hyperparameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete `given` with defaults and check it.

    The reference groups the settings of an optimizer; `forget_optimizer={"learning_rate": 1e-3}`
    and `forget_optimizer_learning_rate=1e-3` are the same, and the group of a method's main
    `optimizer` may be left out.

    Raises:
      MethodError: for an unknown name or a value of the wrong type or range.
    """
    complete = self.defaults
    for name, value in self._flat(given):
      if name in self.hyper and self.hyper[name].dead:
        continue
      if name not in complete:
        raise MethodError(f"{self.name} has no hyper-parameter '{name}'; {closest(name, complete)}")
      try:
        complete[name] = self.hyper[name].read(value)
      except Unfit as expected:
        raise MethodError(f"{self.name}: {name} must be {expected}, got {shown(value)}") from None
    return complete

  def _flat(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) with groups of settings taken apart."""
    for name, value in given.items():
      if not isinstance(value, Mapping) or name in self.hyper:
        yield name, value
        continue
      for key, single in value.items():
        bare = name == "optimizer" and f"optimizer_{key}" not in self.hyper
        yield key if bare else f"{name}_{key}", single

  def resolve_fidelity(self, fidelity: str | None) -> str:
    """Return the level to run: the method's own default for None or "default"."""
    if fidelity in (None, "default"):
      return self.fidelity
    if fidelity not in (REFERENCE, FIXED):
      raise MethodError(f"fidelity must be default, reference or fixed, got '{fidelity}'")
    return fidelity
