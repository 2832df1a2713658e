"""The contract of an unlearning method: a value that says what is done before, during and after.

Everything in it is written for ONE model and pure, so that a population maps it (methods.md 0.3).
"""

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from jaxmu.errors import MethodError, closest
from jaxmu.training import Phase
from jaxmu.training.phase import Hp

REFERENCE, FIXED = "reference", "fixed"
# Numbers that all members of a population share; every other number may differ between members.
STATIC = frozenset({"batch_size", "retain_batch_size", "forget_batch_size"})


@dataclasses.dataclass(frozen=True)
class Distribution:
  """Where a search draws a hyper-parameter from (methods.md 0.6).

  Attributes:
    kind: "uniform", "log_uniform", "integer", "categorical" or "constant".
    low, high: bounds, inclusive; `high=None` stands for E_max, a fifth of training.
    choices: of a categorical.
    at_most: name of a hyper-parameter that bounds this one from above.
  """

  kind: str
  low: float = 0.0
  high: float | None = 1.0
  choices: tuple = ()
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


LR = WD = Distribution("log_uniform", 1e-5, 1e-1)
MOM = Distribution("constant", 0.9, 0.9)
BS = Distribution("categorical", choices=(64, 128, 256))
EP = Distribution("integer", 1, None)
EPF = Distribution("uniform", 1.0, None)
U01 = SIG = Distribution("uniform", 0.0, 1.0)
TEMP = Distribution("uniform", 0.0, 5.0)
TEMP_FIXED = Distribution("uniform", 0.1, 5.0)
ETA = Distribution("log_uniform", 1e-6, 1e-1)
NB = Distribution("integer", 1, 10)
COMMON = {
  "learning_rate": LR,
  "momentum": MOM,
  "weight_decay": WD,
  "batch_size": BS,
  "num_epochs": EP,
}


def keep(key, variables, view, hp):
  """Prepare nothing: the original's variables, no auxiliary arrays."""
  del key, view, hp
  return variables, ()


def no_samples(hp, sizes) -> float:
  """Cost of a preparation that reads no data."""
  del hp, sizes
  return 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
  """An unlearning method, or training itself.

  Attributes:
    name, title, summary, paper: registry name, full name, one-line idea, source.
    needs: the sets it may touch, of "retain", "forget", "val"; the others do not exist for it.
    defaults: hyper-parameter -> default value. Numbers, but for options: bool, or str of `choices`.
    space: hyper-parameter -> Distribution, in the reference's order; those it never reads left out.
    amended: the distributions that methods.md 10.4 recommends in place of the reference's.
    choices: option -> the values that it may take.
    limits: hyper-parameter -> (smallest, largest) value, where not the usual ones.
    dead: hyper-parameters that the reference searches but never reads; accepted, and ignored.
    phases: (hp with static values) -> the phases.
    prepare: (key, variables, view, hp) -> (variables, aux): resets, masks, noise, teachers.
    derive: (hp, set sizes) -> further traced numbers, computed on the host in double precision.
    finish: (variables, aux, hp) -> variables; None where nothing is done.
    rewind: (key, view, variables, memory, aux, hp) -> int32, the epoch of the only phase whose
      model is the result; 0 keeps the last. The engine trains again up to there.
    prepare_samples: (hp with fidelity and num_classes, set sizes) -> sample-passes of `prepare`
      (forward 1, backward 2).
    fidelity: the level of methods.md 0.2 that we take by default (its table 10.3).
    fidelities: levels that differ from one another; one entry where both coincide.
    oddities: what the reference does that a reader would not expect, and what we do.
    draws: name of each random draw that a caller may replace -> its form.
  """

  name: str
  title: str
  summary: str
  paper: str
  needs: frozenset[str]
  defaults: Mapping[str, Any]
  phases: Callable[[Hp], tuple[Phase, ...]]
  space: Mapping[str, Distribution] = dataclasses.field(default_factory=dict)
  amended: Mapping[str, Distribution] = dataclasses.field(default_factory=dict)
  choices: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
  limits: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
  dead: tuple[str, ...] = ()
  prepare: Callable[..., tuple[Any, Any]] = keep
  derive: Callable[..., Mapping[str, Any]] = lambda hp, sizes: {}
  finish: Callable[..., Any] | None = None
  rewind: Callable[..., Any] | None = None
  prepare_samples: Callable[..., float] = no_samples
  fidelity: str = REFERENCE
  fidelities: tuple[str, ...] = (REFERENCE,)
  oddities: str = ""
  draws: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def static(self) -> frozenset[str]:
    """Names of the hyper-parameters that all members of a population share."""
    options = {name for name, value in self.defaults.items() if isinstance(value, bool | str)}
    return frozenset(options | (STATIC & set(self.defaults)))

  def hyperparameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete `given` with defaults and check it.

    The reference groups the settings of an optimizer; `forget_optimizer={"learning_rate": 1e-3}`
    and `forget_optimizer_learning_rate=1e-3` are the same, and the group of a method's main
    `optimizer` may be left out.

    Raises:
      MethodError: for an unknown name or a value of the wrong type or range.
    """
    complete = dict(self.defaults)
    for name, value in self._flat(given):
      if name in self.dead:
        continue
      if name not in self.defaults:
        raise MethodError(
          f"{self.name} has no hyper-parameter '{name}'; {closest(name, self.defaults)}"
        )
      complete[name] = self._checked(name, value)
    return complete

  def _flat(self, given):
    """Yield (name, value) with groups of settings taken apart."""
    for name, value in given.items():
      if not isinstance(value, Mapping):
        yield name, value
        continue
      for key, single in value.items():
        bare = name == "optimizer" and f"optimizer_{key}" not in self.defaults
        whole = name in self.dead
        yield name if whole else key if bare else f"{name}_{key}", single

  def _checked(self, name, value):
    """Return the value in its default's form, or raise MethodError."""
    default = self.defaults[name]
    if name in self.choices:
      if value not in self.choices[name] or isinstance(value, bool) != isinstance(default, bool):
        known = ", ".join(map(str, self.choices[name]))
        raise MethodError(f"{self.name}: {name} must be one of {known}, got {value!r}")
      return value
    if isinstance(default, tuple):
      values = tuple(value) if isinstance(value, tuple | list) else (value,)
      if not values:
        raise MethodError(f"{self.name}: {name} must hold at least one number, got {value!r}")
      return tuple(self._number(name, v, default[0]) for v in values)
    return self._number(name, value, default)

  def _number(self, name, value, default):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      raise MethodError(f"{self.name}: {name} must be a number like {default}, got {value!r}")
    whole = isinstance(default, int)
    usual = (1 if whole else 0, 1 if name.endswith("momentum") else float("inf"))
    low, high = self.limits.get(name, usual)
    if high < float("inf") and not low <= value <= high:
      raise MethodError(f"{self.name}: {name} must lie in [{low}, {high}], got {value!r}")
    if not low <= value < float("inf"):
      raise MethodError(f"{self.name}: {name} must be finite and at least {low}, got {value!r}")
    if whole and int(value) != value:
      raise MethodError(f"{self.name}: {name} must be a whole number, got {value!r}")
    return value

  def resolve_fidelity(self, fidelity: str | None) -> str:
    """Return the level to run: the method's own default for None or "default"."""
    if fidelity in (None, "default"):
      return self.fidelity
    if fidelity not in (REFERENCE, FIXED):
      raise MethodError(f"fidelity must be default, reference or fixed, got '{fidelity}'")
    return fidelity
