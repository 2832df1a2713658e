"""How many members a method can process at once, predicted from its compiled programs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.engine import memory
from jaxmu.engine.memory import Memory
from jaxmu.engine.population import Population, Program, nbytes
from jaxmu.execution import members, programs
from jaxmu.execution.problem import Problem
from jaxmu.execution.programs import Programs, Shared
from jaxmu.training.method import Method
from jaxmu.training.phase import Variables


class Capacity(NamedTuple):
  """What a method needs on each device, and what there is.

  Attributes:
    needs: bytes as a function of the places on one device, of every program.
    places: those that all members of the population would take.
    limit: bytes that may be used on each device.
    at_once: members that fit together; at least one chunk on every device.
    compile_seconds: time spent compiling; the run that follows finds the programs compiled.
  """

  needs: tuple[Memory, ...]
  places: int
  limit: int
  at_once: int
  compile_seconds: float

  def total(self, places: int) -> int:
    """Return the bytes that so many places on each device need: those of the largest program."""
    return max(need.total(places) for need in self.needs)

  @property
  def bytes(self) -> int:
    """Bytes that all members together would need on each device."""
    return self.total(self.places)


class _Tell(NamedTuple):
  """Who is told of programs: of all of them, and of those about to be compiled."""

  before: Callable[[], None]
  compile: Callable[[], None]


def capacity(
  method: Method,
  problem: Problem,
  variables: Variables,
  *,
  hp: Sequence[Mapping[str, Any]],
  fidelity: str | None = None,
  draws: Mapping[str, Any] | None = None,
  limit: int | None = None,
  before: Callable[[], None] = lambda: None,
  on_compile: Callable[[], None] = lambda: None,
) -> Capacity:
  """Predict what a method needs, by compiling its programs for all members; nothing is allocated.

  Args:
    problem: its data lie on the devices already.
    variables: leaves [K, ...], arrays or descriptions of them.
    hp, fidelity, draws: as for `runner.run`.
    limit: bytes of each device that may be used; what `memory.limit` says where None.
    before: called before each program is looked up or compiled; what it raises ends the prediction.
    on_compile: called before every program that is not compiled yet.

  Raises:
    MethodError: as `runner.run` does.
  """
  population = problem.population
  hp = members.derived(method, problem, hp)
  options = members.options(method, problem.task, hp, fidelity)
  members.check(method, problem, draws or {})
  compiled = programs.build(population, problem.task, method, options)
  members.check_padding(method, problem, compiled.phases)
  waited = compiled.compile_seconds
  keys = jax.random.wrap_key_data(jnp.zeros((population.size, 2), jnp.uint32))
  member = members.stack(method, problem, options, hp, keys, None, draws or {})
  variables, member = population.shapes((variables, member))
  shared = Shared(problem.arrays, np.int32(0))
  tell = _Tell(before, on_compile)
  calls = _calls(compiled, population, variables, member, shared, tell)
  # The original models stay beside whatever a program works on.
  kept = nbytes(variables) // population.padded
  measured = [memory.measure(*call) for call in calls]
  needs = tuple(need._replace(per_place=need.per_place + kept) for need in measured)
  limit = memory.limit(population.devices) if limit is None else limit
  found = Capacity(needs, population.local, limit, population.size, 0.0)
  if found.bytes > limit:
    found = found._replace(at_once=memory.members_within(population, needs, limit))
  return found._replace(compile_seconds=compiled.compile_seconds - waited)


def _calls(
  compiled: Programs,
  population: Population,
  variables: Variables,
  member: Any,
  shared: Shared,
  tell: _Tell,
) -> Iterator[tuple[Program, Any, Any, Any]]:
  """Yield every program of a run with descriptions of its arguments, in the order of the run."""

  def call(program: Program, state: Any, constant: Any) -> tuple[Program, Any, Any, Any]:
    tell.before()
    if not program.is_compiled(state, constant, shared):
      tell.compile()
    return (program, state, constant, shared)

  yield (prepare := call(compiled.prepare, variables, member))
  prepared, aux = memory.outputs(*prepare)
  failed_at = population.shapes(np.zeros(population.size, np.int32))
  variables, carried = prepared, ()
  for start, epoch in zip(compiled.start, compiled.epoch):
    yield (begin := call(start, variables, (member, aux, failed_at)))
    variables, fresh = memory.outputs(*begin)
    state = programs.begun(variables, failed_at, fresh)
    yield call(epoch, state, (member, aux))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    carried = state.memory
  if compiled.rewind is not None:
    constants = (member, aux, carried, failed_at, prepared)
    yield call(compiled.rewind, variables, constants)
  if compiled.finish is not None:
    yield call(compiled.finish, variables, (member, aux))
