"""Compiled programs of a method over a population: prepare, start a phase, one epoch, finish."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.engine.population import Population, Program
from jaxmu.training import Phase, Step, Task, TrainState, View, run_epoch, start_phase
from jaxmu.training.epoch import NEVER
from jaxmu.training.method import Finish, Method, Rewind
from jaxmu.training.phase import Options, Variables
from jaxmu.training.task import NOT_HERE, Arrays


class Member(NamedTuple):
  """What one member is, and never changes while a method runs.

  Attributes:
    key: uint32 [2], the member's own randomness.
    order_key: uint32 [2], draws batch orders; members may share it.
    index: set name -> int32 [n] positions of the member's split.
    hp: hyper-parameter -> scalar, those that may differ between members.
    draws: replacements for random draws, by name.
    counts: set name -> int32, how many of its positions are real, the first ones; empty where all
      members have sets of one size.
    until: int32, the member rests from this epoch of a phase on (used to rewind).
  """

  key: Any
  order_key: Any
  index: Mapping[str, Any]  # type: ignore[assignment]  # tuples have such a method
  hp: Mapping[str, Any]
  draws: Mapping[str, Any]
  counts: Mapping[str, Any]
  until: Any


class Shared(NamedTuple):
  """What all members read: the data, and the number of the epoch."""

  arrays: Arrays
  epoch: Any


@dataclasses.dataclass(frozen=True)
class Programs:
  """The programs of one method for one population, task and set of static hyper-parameters.

  `start` gives what a phase begins with beside the variables; `begun` makes the state of both.
  """

  prepare: Program
  start: tuple[Program, ...]
  epoch: tuple[Program, ...]
  rewind: Program | None
  finish: Program | None
  phases: tuple[Phase, ...]

  @property
  def compile_seconds(self) -> float:
    every = (self.prepare, *self.start, *self.epoch, self.rewind, self.finish)
    return sum(program.compile_seconds for program in every if program)


def begun(variables: Variables, failed_at: Any, fresh: tuple[Any, Any]) -> TrainState:
  """Make a phase's first state from the results of its `start` program (or their shapes)."""
  optimizers, memory = fresh
  return TrainState(variables["params"], variables["batch_stats"], optimizers, failed_at, memory)


def build(population: Population, task: Task, method: Method, options: Options) -> Programs:
  """Make (or find) the programs; calls that differ only in traced values share them.

  So do populations that differ only in how many of their places are free.

  Args:
    options: the static hyper-parameters, "fidelity" and "num_classes".
  """
  with _one_at_a_time:
    return _build(population.frame, task, method, tuple(sorted(options.items())))


_one_at_a_time = threading.Lock()  # threads that ask for the same programs must get the same


@functools.lru_cache(maxsize=32)
def _build(
  population: Population, task: Task, method: Method, items: tuple[tuple[str, Any], ...]
) -> Programs:
  model = _Model(task, method, dict(items))
  phases = method.phases(model.options)
  return Programs(
    prepare=population.map(model.prepare),
    start=tuple(population.map(model.starter(phase)) for phase in phases),
    epoch=tuple(population.map(model.runner(i, phase)) for i, phase in enumerate(phases)),
    rewind=population.map(model.rewinder(method.rewind)) if method.rewind else None,
    finish=population.map(model.finisher(method.finish)) if method.finish else None,
    phases=phases,
  )


class _Model(NamedTuple):
  """What each program does for ONE model."""

  task: Task
  method: Method
  options: Options

  def prepare(self, variables: Variables, member: Member, shared: Shared) -> Any:
    return self.method.prepare(variables, self.step(member, shared, Purpose.PREPARE))

  def starter(self, phase: Phase) -> Callable[..., Any]:
    """Return the function that begins a phase."""

    def start(variables: Variables, constants: tuple, shared: Shared) -> Any:
      member, aux, failed_at = constants
      step = self.step(member, shared)._replace(aux=aux)
      state = start_phase(phase, variables["params"], variables["batch_stats"], failed_at, step)
      # Variables and state as results would be two models per member where one is enough.
      return variables, (state.optimizers, state.memory)

    return start

  def runner(self, number: int, phase: Phase) -> Callable[..., Any]:
    """Return the function that runs an epoch of a phase."""

    def epoch(state: TrainState, constants: tuple, shared: Shared) -> Any:
      member, aux = constants
      order_key = keys.at(_key(member.order_key, Purpose.ORDER), number)
      key = keys.at(_key(member.key, Purpose.STEP), number)
      step = self.step(member, shared)._replace(key=key, aux=aux, epoch=shared.epoch)
      return run_epoch(phase, state, step, order_key, member.until)

    return epoch

  def rewinder(self, choose: Rewind) -> Callable[..., Any]:
    """Return the function that chooses the epoch to go back to.

    A member that does starts again as `prepare` left it.
    """

    def rewind(variables: Variables, constants: tuple, shared: Shared) -> Any:
      member, aux, memory, failed_at, prepared = constants
      step = self.step(member, shared, Purpose.REWIND)._replace(aux=aux, memory=memory)
      target = jnp.where(failed_at == NEVER, choose(variables, step), 0).astype(jnp.int32)
      return jax.tree.map(partial(jnp.where, target > 0), prepared, variables), target

    return rewind

  def finisher(self, change: Finish) -> Callable[..., Any]:
    """Return the function of the last change."""

    def finish(variables: Variables, constants: tuple, shared: Shared) -> Any:
      member, aux = constants
      return change(variables, self.step(member, shared)._replace(aux=aux)), ()

    return finish

  def step(self, member: Member, shared: Shared, purpose: Purpose | None = None) -> Step:
    """Return what a member's functions know, with a key of one purpose."""
    view = View(self.task, shared.arrays, member.index, member.draws, member.counts)
    key = NOT_HERE if purpose is None else _key(member.key, purpose)
    return Step(member.hp, self.options, view, key)


def _key(data: jax.Array, purpose: Purpose) -> jax.Array:
  return keys.of(jax.random.wrap_key_data(data), purpose)
