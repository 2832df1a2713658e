"""Members of one method in groups that share their programs and fit into memory, one by one.

A study does the same with what it has on disk (`studies.units`); here all of it is in memory, and a
group that is finished is handed over before the next one begins.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.execution import runner
from jaxmu.execution.capacity import capacity
from jaxmu.execution.observations import Leg, Outcome
from jaxmu.execution.problem import Problem
from jaxmu.training.method import Method
from jaxmu.training.phase import Variables

LARGEST = 64  # members of a group, so that some are finished now and then
Members = tuple[int, ...]


class Group(NamedTuple):
  """Members that ran together.

  Attributes:
    members: their numbers among all.
    problem, outcome: where they were, and what came of them.
    compile_seconds: time spent compiling for this group, and on finding out how many fit.
  """

  members: Members
  problem: Problem
  outcome: Outcome
  compile_seconds: float


def run(
  method: Method,
  problem: Problem,
  start: Callable[[Members], Variables],
  *,
  hp: Sequence[Mapping[str, Any]],
  keys: jax.Array,
  fidelity: str | None = None,
  draws: Mapping[str, Any] | None = None,
  room: int = 0,
  on_leg: Callable[[Members, Leg], None] = lambda members, leg: None,
  on_compile: Callable[[Members], None] = lambda members: None,
) -> Iterator[Group]:
  """Run `method` for members of one data set, as many at a time as fit; yield each group's end.

  Members of different static hyper-parameters have programs of their own. At chunk 1 no bit depends
  on who runs with whom.

  Args:
    problem: that of one member; its population says chunk and devices, and all have its sets.
    start: gives the variables of some members, leaves [k, ...].
    hp: complete hyper-parameters, one mapping per member.
    keys: typed PRNG keys [K], one per member.
    draws: replacements of random draws, leaves [1, ...]: the same for all members.
    room: least places of a group, at most `LARGEST`: calls that differ in members share programs.
    on_leg, on_compile: as for `runner.run`, told of which members.

  Raises:
    MethodError: as `runner.run` does.
  """

  waited = 0.0

  def attempt(members: Members, places: int) -> Group:
    own = laid_out(problem, len(members), places)
    outcome = runner.run(
      method,
      own,
      start(members),
      hp=[hp[k] for k in members],
      keys=keys[np.asarray(members)],
      fidelity=fidelity,
      draws=_repeated(draws, len(members)),
      on_leg=lambda leg: on_leg(members, leg),
      on_compile=lambda: on_compile(members),
    )
    return Group(members, own, outcome, outcome.compile_seconds)

  def places(members: Members, most: int) -> int:
    """Return how many members, all of one kind, to run at a time; their programs get compiled."""
    count = max(even(len(members), most), min(room, most))
    while count > 1 and (fits := at_once(members[:count], count)) < count:
      count = even(len(members), fits)
    return count

  def at_once(members: Members, count: int) -> int:
    """Return `count` if as many fit, else how many do."""
    nonlocal waited
    found = capacity(
      method,
      laid_out(problem, len(members), count),
      jax.tree.map(lambda leaf: _described(leaf, len(members)), start(members[:1])),
      hp=[hp[k] for k in members],
      fidelity=fidelity,
      draws=_repeated(draws, len(members)),
      on_compile=lambda: on_compile(members),
    )
    waited += found.compile_seconds
    return count if found.bytes <= found.limit else min(found.at_once, count - 1)

  for left in kinds(method, hp):
    count = places(left, LARGEST)
    while left:
      try:
        group = attempt(left[:count], count)
      except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or count < 2:
          raise
        count = places(left, count // 2)
        continue
      yield group._replace(compile_seconds=group.compile_seconds + waited)
      waited = 0.0
      left = left[count:]


def kinds(method: Method, hp: Sequence[Mapping[str, Any]]) -> list[Members]:
  """Sort members by the hyper-parameters that a population must share."""
  found: dict[tuple, list[int]] = {}
  for k, own in enumerate(hp):
    found.setdefault(tuple(own[name] for name in sorted(method.static)), []).append(k)
  return [tuple(members) for members in found.values()]


def even(count: int, most: int) -> int:
  """Return the size of blocks, at most `most`, that `count` members are cut into evenly."""
  return math.ceil(count / math.ceil(count / most))


def laid_out(problem: Problem, count: int, places: int = 0) -> Problem:
  """Return the problem of one member as that of `count` members, with room for `places`."""
  population = dataclasses.replace(problem.population, size=count, room=places)
  index = {name: np.repeat(rows, count, axis=0) for name, rows in problem.index.items()}
  return dataclasses.replace(problem, population=population, index=index)


def _described(leaf: Any, count: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype)


def _repeated(draws: Mapping[str, Any] | None, count: int) -> Mapping[str, Any]:
  return jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), dict(draws or {}))
