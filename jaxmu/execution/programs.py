"""Compiled programs of a method over a population: prepare, start a phase, one epoch, finish."""

import dataclasses
import functools
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.engine.population import Population, Program
from jaxmu.training import Phase, Task, TrainState, View, run_epoch, start_phase
from jaxmu.training.epoch import NEVER
from jaxmu.training.method import Method
from jaxmu.training.task import Arrays

PREPARE, ORDER, STEP, REWIND = range(4)  # purposes folded into a member's key


class Member(NamedTuple):
  """What one member is, and never changes while a method runs.

  Attributes:
    key: uint32 [2], the member's own randomness.
    order_key: uint32 [2], draws batch orders; members may share it.
    index: set name -> int32 [n] positions of the member's split.
    hp: hyper-parameter -> scalar, those that may differ between members.
    draws: replacements for random draws, by name.
    until: int32, the member rests from this epoch of a phase on (used to rewind).
  """

  key: Any
  order_key: Any
  index: Mapping[str, Any]
  hp: Mapping[str, Any]
  draws: Mapping[str, Any]
  until: Any


class Shared(NamedTuple):
  """What all members read: the data, and the number of the epoch."""

  arrays: Arrays
  epoch: jax.Array


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


def begun(variables, failed_at, fresh) -> TrainState:
  """Make a phase's first state from the results of its `start` program (or their shapes)."""
  optimizers, memory = fresh
  return TrainState(variables["params"], variables["batch_stats"], optimizers, failed_at, memory)


def build(population: Population, task: Task, method: Method, static) -> Programs:
  """Make (or find) the programs; calls that differ only in traced values share them.

  So do populations that differ only in how many of their places are free.

  Args:
    static: the static hyper-parameters, batch sizes and fidelity: a mapping, or its sorted items.
  """
  return _build(population.frame, task, method, tuple(sorted(dict(static).items())))


@functools.lru_cache(maxsize=32)
def _build(population, task, method, static) -> Programs:
  fixed = dict(static)
  phases = method.phases(fixed)
  hp_of = lambda member: {**member.hp, **fixed}

  def view(member, shared):
    return View(task, shared.arrays, member.index, member.draws)

  def prepare(variables, member, shared):
    key = jax.random.fold_in(jax.random.wrap_key_data(member.key), PREPARE)
    return method.prepare(key, variables, view(member, shared), hp_of(member))

  def starter(phase):
    def start(variables, member_aux, shared):
      del shared
      member, aux, failed_at = member_aux
      state = start_phase(
        phase, variables["params"], variables["batch_stats"], failed_at, hp_of(member), aux
      )
      # Variables and state as results would be two models per member where one is enough.
      return variables, (state.optimizers, state.memory)

    return start

  def runner(number, phase):
    def epoch(state, member_aux, shared):
      member, aux = member_aux
      keys = [
        jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(data), purpose), number)
        for data, purpose in ((member.order_key, ORDER), (member.key, STEP))
      ]
      return run_epoch(
        phase, task, view(member, shared), state, aux, hp_of(member), *keys, shared.epoch,
        member.until,
      )  # fmt: skip

    return epoch

  def rewind(variables, constants, shared):
    """Choose the epoch to go back to; a member that does starts again as `prepare` left it."""
    member, aux, memory, failed_at, prepared = constants
    key = jax.random.fold_in(jax.random.wrap_key_data(member.key), REWIND)
    target = method.rewind(key, view(member, shared), variables, memory, aux, hp_of(member))
    target = jnp.where(failed_at == NEVER, target, 0).astype(jnp.int32)
    return jax.tree.map(partial(jnp.where, target > 0), prepared, variables), target

  def finish(variables, member_aux, shared):
    del shared
    member, aux = member_aux
    return method.finish(variables, aux, hp_of(member)), ()

  return Programs(
    prepare=population.map(prepare),
    start=tuple(population.map(starter(phase)) for phase in phases),
    epoch=tuple(population.map(runner(i, phase)) for i, phase in enumerate(phases)),
    rewind=population.map(rewind) if method.rewind else None,
    finish=population.map(finish) if method.finish else None,
    phases=phases,
  )
