"""A method on the models of a call: they run together, and each comes back on its own."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.api.details import Watch
from jaxmu.api.starting import Starts
from jaxmu.engine.population import Population
from jaxmu.errors import MethodError, shown
from jaxmu.execution import fitting
from jaxmu.execution.fitting import Group
from jaxmu.execution.problem import Problem
from jaxmu.settings.ranges import CHUNK, Unfit, fit
from jaxmu.training.method import Method


class Ended(NamedTuple):
  """One model after its run.

  Attributes:
    variables: {"params", "batch_stats"} in the caller's types; None where it is not finite.
    failure: where it turned non-finite; "" if it did not.
    seconds, compile_seconds: its even share of what its group took.
    passes: its work.
  """

  variables: dict[str, Any] | None
  failure: str
  seconds: float
  compile_seconds: float
  passes: float


def population(models: int, chunk: int = 1) -> Population:
  """Return where one of so many models runs: accelerators have their part of several.

  Args:
    chunk: models that a device computes together.

  Raises:
    MethodError: it is none.

  Of CPU devices only the first one has, whose programs are those of a single model: XLA may round
  otherwise in one for several devices, and a seed's result must not depend on its company.
  """
  try:
    chunk = min(fit(chunk, int, CHUNK), models)
  except Unfit as expected:
    raise MethodError(f"chunk must be {expected}, got {shown(chunk)}") from None
  devices = jax.devices()
  most = 1 if devices[0].platform == "cpu" else models
  return Population(1, chunk=chunk, devices=tuple(devices[:most]))


def run(
  method: Method,
  problem: Problem,
  starts: Starts,
  watch: Watch,
  *,
  hp: Sequence[Mapping[str, Any]],
  fidelity: str | None = None,
  draws: Mapping[str, Any] | None = None,
) -> list[Ended]:
  """Run a method on all models of a call, in groups that fit into memory.

  Args:
    problem: of one model, on `population(K)`.
    hp: complete hyper-parameters of every model.
    draws: replacements of random draws, the same for all models.
  """
  groups = fitting.run(
    method,
    problem,
    starts.variables,
    hp=hp,
    keys=starts.keys,
    fidelity=fidelity,
    draws=draws,
    on_leg=lambda members, leg: watch.leg(leg, members),
    on_compile=watch.compiling,
  )
  ended: dict[int, Ended] = {}
  for group in groups:
    ended |= dict(zip(group.members, _each(group, starts)))
  return [ended[k] for k in range(len(hp))]


def _each(group: Group, starts: Starts) -> list[Ended]:
  """Take a group apart. Several models come to the host: all of them may not fit on a device."""
  outcome, count = group.outcome, len(group.members)
  collect = group.problem.population.collect if starts.seeds else lambda tree: tree
  variables = collect(outcome.variables)
  found = []
  for place, k in enumerate(group.members):
    own = starts.of(k).rounded(jax.tree.map(lambda leaf, place=place: leaf[place], variables))
    where = outcome.failures[place]
    if not where and not all(map(_finite, jax.tree.leaves(own))):
      where = "its last step"
    shares = outcome.seconds / count, group.compile_seconds / count
    found.append(Ended(None if where else own, where, *shares, outcome.passes[place]))
  return found


def _finite(leaf: Any) -> bool:
  here = np if isinstance(leaf, np.ndarray) else jnp
  return bool(here.isfinite(leaf).all())
