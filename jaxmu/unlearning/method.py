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
STATIC = frozenset({"batch_size"})  # every other hyper-parameter may differ between members


@dataclasses.dataclass(frozen=True)
class Distribution:
  """Where a search draws a hyper-parameter from (methods.md 0.6).

  Attributes:
    kind: "uniform", "log_uniform", "integer", "categorical" or "constant".
    low, high: bounds, inclusive; `high=None` of an integer stands for E_max, a fifth of training.
    choices: of a categorical.
  """

  kind: str
  low: float = 0.0
  high: float | None = 1.0
  choices: tuple = ()


LR = WD = Distribution("log_uniform", 1e-5, 1e-1)
MOM = Distribution("constant", 0.9, 0.9)
BS = Distribution("categorical", choices=(64, 128, 256))
EP = Distribution("integer", 1, None)
U01 = Distribution("uniform", 0.0, 1.0)
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
    defaults: hyper-parameter -> default value.
    space: hyper-parameter -> Distribution, in the reference's order.
    phases: (hp with static values) -> the phases.
    prepare: (key, variables, view, hp) -> (variables, aux): resets, masks, noise, teachers.
    finish: (variables, aux, hp) -> variables; None where nothing is done.
    prepare_samples: (hp, set sizes) -> sample-passes of `prepare` (forward 1, backward 2).
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
  prepare: Callable[..., tuple[Any, Any]] = keep
  finish: Callable[..., Any] | None = None
  prepare_samples: Callable[..., float] = no_samples
  fidelity: str = REFERENCE
  fidelities: tuple[str, ...] = (REFERENCE,)
  oddities: str = ""
  draws: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def hyperparameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete `given` with defaults and check it.

    Raises:
      MethodError: for an unknown name or a value of the wrong type or range.
    """
    for name, value in given.items():
      if name not in self.defaults:
        raise MethodError(
          f"{self.name} has no hyper-parameter '{name}'; {closest(name, self.defaults)}"
        )
      _check_value(self.name, name, value, self.defaults[name])
    return {**self.defaults, **given}

  def resolve_fidelity(self, fidelity: str | None) -> str:
    """Return the level to run: the method's own default for None or "default"."""
    if fidelity in (None, "default"):
      return self.fidelity
    if fidelity not in (REFERENCE, FIXED):
      raise MethodError(f"fidelity must be default, reference or fixed, got '{fidelity}'")
    return fidelity


def _check_value(method, name, value, default):
  if isinstance(value, bool) or not isinstance(value, numbers.Real):
    raise MethodError(f"{method}: {name} must be a number like {default}, got {value!r}")
  smallest = 1 if isinstance(default, int) else 0
  if not smallest <= value < float("inf"):
    raise MethodError(f"{method}: {name} must be finite and at least {smallest}, got {value!r}")
  if isinstance(default, int) and int(value) != value:
    raise MethodError(f"{method}: {name} must be a whole number, got {value!r}")
  if name in ("momentum", "alpha", "init_rate") and value > 1:
    raise MethodError(f"{method}: {name} must lie in [0, 1], got {value!r}")
