"""From what a caller gives for each member to the arrays that a population's programs read."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.errors import MethodError
from jaxmu.execution import programs
from jaxmu.execution.problem import Problem
from jaxmu.training import Task
from jaxmu.training.epoch import NO_LIMIT
from jaxmu.training.method import Method
from jaxmu.training.phase import Options, Phase

Hps = Sequence[Mapping[str, Any]]  # hyper-parameters of each member


def options(method: Method, task: Task, hp: Hps, fidelity: str | None) -> dict[str, Any]:
  """Return what all members must share: static hyper-parameters, "fidelity", "num_classes".

  Raises:
    MethodError: members differ in a static value.
  """
  found = {"fidelity": method.resolve_fidelity(fidelity), "num_classes": task.num_classes}
  for name in sorted(method.static):
    values = {member[name] for member in hp}
    if len(values) != 1:
      raise MethodError(
        f"{method.name}: members of one population must share {name}, got {sorted(values)}; "
        "run one population per value"
      )
    (value,) = values
    found[name] = value if isinstance(value, bool | str) else int(value)
  return found


def derived(method: Method, problem: Problem, hp: Hps) -> list[dict[str, Any]]:
  """Add what follows from the sizes of each member's sets to its hyper-parameters."""
  return [{**own, **method.derive(own, sizes)} for own, sizes in zip(hp, problem.member_sizes)]


def check(method: Method, problem: Problem, draws: Mapping[str, Any]) -> None:
  """Refuse missing and empty sets, and draws that the method does not have; MethodError."""
  missing = sorted(method.needs - set(problem.index))
  if missing:
    raise MethodError(f"{method.name} needs the {missing[0]} set, which was not given")
  unknown = sorted(set(draws) - set(method.draws))
  if unknown:
    known = ", ".join(method.draws) or "none"
    raise MethodError(f"{method.name} has no random draw '{unknown[0]}'; known: {known}")
  for name, size in problem.sizes.items():
    if name in method.needs and min([size, *problem.counts.get(name, ())]) < 1:
      raise MethodError(f"the {name} set is empty")


def check_padding(method: Method, problem: Problem, phases: Sequence[Phase]) -> None:
  """Raise MethodError where padding of smaller sets would enter BatchNorm's statistics."""
  modes = [p.batch_norm for phase in phases for p in phase.passes]
  if problem.counts and not all(map(problem.task.pads, modes)):
    raise MethodError(
      f"{method.name}: members have sets of different sizes, whose padding BatchNorm would see; "
      "expected a network whose __call__ takes mask=, or sets of one size"
    )


def stack(
  method: Method,
  problem: Problem,
  options: Options,
  hp: Hps,
  keys: jax.Array,
  order_keys: jax.Array | None,
  draws: Mapping[str, Any],
) -> programs.Member:
  """Stack what differs between members: leaves [K, ...], not laid out over devices yet."""
  traced = [name for name in hp[0] if name not in options]
  defaults = method.defaults
  return programs.Member(
    key=np.asarray(jax.random.key_data(keys)),
    order_key=np.asarray(jax.random.key_data(keys if order_keys is None else order_keys)),
    index={name: np.asarray(problem.index[name], np.int32) for name in sorted(method.needs)},
    counts={
      name: np.asarray(n, np.int32)
      for name, n in sorted(problem.counts.items())
      if name in method.needs
    },
    hp={name: _stack([h[name] for h in hp], defaults.get(name)) for name in traced},
    draws=dict(draws),
    until=np.full(len(hp), NO_LIMIT, np.int32),
  )


def _stack(values: list[Any], default: Any) -> np.ndarray:
  """Stack one hyper-parameter of all members; a shorter list repeats its last entry."""
  whole = isinstance(values[0] if default is None else default, int)
  dtype = np.int32 if whole else np.dtype(jnp.result_type(float))
  if isinstance(values[0], tuple):
    longest = max(map(len, values))
    values = [value + value[-1:] * (longest - len(value)) for value in values]
  return np.asarray(values, dtype)
