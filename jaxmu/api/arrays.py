"""Samples as a caller has them: checked, and laid out for the engine."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.api import given_sets, placement
from jaxmu.data.samples import Samples, check_sets
from jaxmu.engine.population import Population
from jaxmu.errors import MethodError
from jaxmu.execution.problem import Problem
from jaxmu.training import Task
from jaxmu.training.method import Method

_ARGUMENTS = {"retain": "retain", "forget": "forget", "val": "validation"}  # set -> argument


def sets(
  method: Method, given: Mapping[str, Any], stored: str, data: Any = None
) -> dict[str, Samples]:
  """Check all sets that were given, those that the method needs first.

  Args:
    given: argument -> pair, batches, or positions in data; None where it was not given.
    stored: how images are stored, as for `check_images`.
    data: a pair (x, y) of all samples, or None.
  """
  for name in sorted(method.needs):
    if given[_ARGUMENTS[name]] is None:
      argument = _ARGUMENTS[name]
      raise MethodError(f"{method.name} needs {argument}=(x, y), which was not given")
  given = given_sets.pairs(given, data)
  present = {name: given[name] for name in sorted(given) if given[name] is not None}
  return check_sets(present, stored)


def problem(
  population: Population,
  task: Task,
  needs: Collection[str],
  given: Mapping[str, Samples],
  limit: int | None = None,
) -> Problem:
  """Put the sets that a method needs one after another, and remember where each one lies.

  Args:
    limit: bytes of samples that may be copied; see `placement.placed`.
  """
  sets = {name: given[_ARGUMENTS[name]] for name in sorted(needs)}
  y = jnp.concatenate([jnp.asarray(y, jnp.int32) for _, y in sets.values()])
  ends = np.cumsum([len(labels) for _, labels in sets.values()])
  index = {
    name: np.arange(end - len(labels), end, dtype=np.int32)[None]
    for (name, (_, labels)), end in zip(sets.items(), ends)
  }
  samples = placement.placed(population, [x for x, _ in sets.values()], y, limit)
  return Problem(population, task, samples, index)


def alone(tree: Any) -> Any:
  """Make one model a population of one: leaves [...] become [1, ...]."""
  return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)
