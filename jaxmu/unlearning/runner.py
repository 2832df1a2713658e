"""Run a method on a population: legs in Python, everything inside a leg compiled."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.data import streams
from jaxmu.errors import MethodError
from jaxmu.population import Population
from jaxmu.training import Task, TrainState
from jaxmu.training.epoch import NEVER
from jaxmu.training.task import Arrays
from jaxmu.unlearning import programs
from jaxmu.unlearning.method import STATIC, Method


class Leg(NamedTuple):
  """What is known after one epoch of a population.

  Attributes:
    phase, number: name and position of the phase.
    epoch, epochs: 0-based epoch and the largest number of epochs of any member.
    steps: optimizer steps of the epoch.
    metrics: EpochMetrics of NumPy arrays [K, T].
    samples: training samples that the population read.
    seconds: wall time of the leg, compilation excluded.
    snapshot: call it for the state as NumPy arrays (to save it).
  """

  phase: str
  number: int
  epoch: int
  epochs: int
  steps: int
  metrics: Any
  samples: int
  seconds: float
  snapshot: Callable[[], dict[str, Any]]


class Outcome(NamedTuple):
  """Result of a method on a population.

  Attributes:
    variables: {"params", "batch_stats"}, leaves [K, ...], on the devices (free places included).
    failures: per member "" or the steps in which it was non-finite before it was frozen.
    seconds: wall time of prepare, phases and finish, compilation excluded.
    compile_seconds: time spent compiling.
    passes: equivalent sample-passes per member (forward 1, backward 2; evaluation.md 5).
  """

  variables: Any
  failures: tuple[str, ...]
  seconds: float
  compile_seconds: float
  passes: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Problem:
  """A population's data: what all methods on it share.

  Attributes:
    population, task: who trains and on what network.
    arrays: images and labels on every device.
    index: set name -> int32 [K, n]: each member's split (all members have the same sizes).
  """

  population: Population
  task: Task
  arrays: Arrays
  index: Mapping[str, np.ndarray]

  @property
  def sizes(self) -> dict[str, int]:
    return {name: positions.shape[1] for name, positions in self.index.items()}


def run(
  method: Method,
  problem: Problem,
  variables: Any,
  *,
  hp: Sequence[Mapping[str, Any]],
  keys: jax.Array,
  order_keys: jax.Array | None = None,
  fidelity: str | None = None,
  draws: Mapping[str, Any] | None = None,
  on_leg: Callable[[Leg], None] = lambda leg: None,
  resume: Mapping[str, Any] | None = None,
) -> Outcome:
  """Run `method` for every member of a population.

  Args:
    variables: leaves [K, ...]; not changed (the engine works on a copy).
    hp: complete hyper-parameters, one mapping per member; static ones must agree.
    keys: typed PRNG keys [K], one per member.
    order_keys: keys [K] for batch orders; the members' own where None.
    fidelity: "reference", "fixed", or None for the method's default.
    draws: name -> replacement of a random draw, leaves [K, ...].
    on_leg: called after every epoch.
    resume: a snapshot to go on from; everything before it is skipped, bit for bit.

  Raises:
    MethodError: for unknown draws, missing sets, or members that differ in a static value.
  """  # fmt: skip
  static = _static(method, hp, fidelity)
  _check(method, problem, static, draws or {})
  compiled = programs.build(problem.population, problem.task, method, tuple(sorted(static.items())))
  return _Execution(method, problem, compiled, static, hp, on_leg).run(
    variables, _member(method, problem, static, hp, keys, order_keys, draws or {}), resume
  )


class _Execution:
  """One run in progress: holds what every leg needs, and adds up times."""

  def __init__(self, method, problem, compiled, static, hp, on_leg):
    self.method, self.problem, self.compiled = method, problem, compiled
    self.static, self.hp, self.on_leg = static, hp, on_leg
    self.seconds = 0.0
    self.compiled_before = compiled.compile_seconds
    self.failures = [""] * problem.population.size

  def run(self, variables, member, resume):
    population = self.problem.population
    variables = jax.tree.map(jnp.copy, population.place(variables))
    variables, aux = self._timed(self.compiled.prepare, variables, member)
    failed_at = population.place(np.full((population.size,), NEVER, np.int32))
    first = 0
    if resume is not None:
      first, self.failures = int(resume["phase"]), list(resume["failures"])
      self.seconds = float(resume["seconds"])
      variables, failed_at = (population.place(resume[k]) for k in ("variables", "failed_at"))
    for number in range(first, len(self.compiled.phases)):
      _, state = self._timed(self.compiled.start[number], variables, (member, aux, failed_at))
      start = 0
      if resume is not None and number == first:
        start = int(resume["epoch"]) + 1
        state = _restore(state, resume["optimizers"], population)._replace(failed_at=failed_at)
      state = self._phase(number, state, member, aux, start)
      variables = {"params": state.params, "batch_stats": state.batch_stats}
      failed_at = state.failed_at
    if self.compiled.finish is not None:
      variables, _ = self._timed(self.compiled.finish, variables, (member, aux))
    spent = self.compiled.compile_seconds - self.compiled_before
    passes = tuple(
      sample_passes(self.method, self.compiled.phases, hp, self.problem.sizes) for hp in self.hp
    )
    return Outcome(variables, tuple(self.failures), self.seconds, spent, passes)

  def _phase(self, number, state, member, aux, start):
    phase = self.compiled.phases[number]
    epochs = max(int(phase.epochs(hp)) for hp in self.hp)
    for epoch in range(start, epochs):
      before = self.seconds
      state, metrics = self._timed(self.compiled.epoch[number], state, (member, aux), epoch)
      metrics = self.problem.population.collect(metrics)
      self._note_failures(phase, epoch, metrics, self.problem.population.collect(state.failed_at))
      running = sum(epoch < phase.epochs(hp) for hp in self.hp)
      self.on_leg(
        Leg(
          phase.name, number, epoch, epochs, metrics.loss.shape[1], metrics,
          running * _epoch_samples(phase, self.static, self.problem.sizes),
          self.seconds - before, lambda s=state, e=epoch: self._snapshot(number, e, s),
        )
      )  # fmt: skip
    return state

  def _timed(self, program, state, constant, epoch=0):
    shared = programs.Shared(self.problem.arrays, np.int32(epoch))
    program.compile(state, constant, shared)
    start = time.perf_counter()
    result = jax.block_until_ready(program(state, constant, shared))
    self.seconds += time.perf_counter() - start
    return result

  def _note_failures(self, phase, epoch, metrics, failed_at):
    steps = metrics.loss.shape[1]
    for k, step in enumerate(failed_at):
      if step != NEVER and not self.failures[k]:
        self.failures[k] = (
          f"{phase.name}: epoch {epoch + 1} (steps {step}-{(epoch + 1) * steps - 1})"
        )

  def _snapshot(self, number, epoch, state: TrainState):
    collect = self.problem.population.collect
    leaves = jax.tree.leaves(collect(state.optimizers))
    return {
      "phase": number,
      "epoch": epoch,
      "seconds": self.seconds,
      "failures": list(self.failures),
      "variables": {"params": collect(state.params), "batch_stats": collect(state.batch_stats)},
      "failed_at": collect(state.failed_at),
      "optimizers": {str(i): leaf for i, leaf in enumerate(leaves)},
    }


def _restore(state: TrainState, saved: Mapping[str, Any], population: Population) -> TrainState:
  leaves = [population.place(saved[str(i)]) for i in range(len(saved))]
  optimizers = jax.tree.unflatten(jax.tree.structure(state.optimizers), leaves)
  return state._replace(optimizers=optimizers)


def _static(method, hp, fidelity):
  """Split off what all members must share, the fidelity included."""
  static = {"fidelity": method.resolve_fidelity(fidelity)}
  for name in sorted(STATIC & set(method.defaults)):
    values = {member[name] for member in hp}
    if len(values) != 1:
      raise MethodError(
        f"{method.name}: members of one population must share {name}, got {sorted(values)}; "
        "run one population per value"
      )
    static[name] = int(values.pop())
  return static


def _check(method, problem, static, draws):
  missing = sorted(method.needs - set(problem.index))
  if missing:
    raise MethodError(f"{method.name} needs the {missing[0]} set, which was not given")
  unknown = sorted(set(draws) - set(method.draws))
  if unknown:
    known = ", ".join(method.draws) or "none"
    raise MethodError(f"{method.name} has no random draw '{unknown[0]}'; known: {known}")
  for name, size in problem.sizes.items():
    if name in method.needs and size < 1:
      raise MethodError(f"the {name} set is empty")


def _member(method, problem, static, hp, keys, order_keys, draws):
  """Stack what differs between members and lay it out over the devices."""
  traced = [name for name in method.defaults if name not in static]
  whole = lambda name: isinstance(method.defaults[name], int)
  dtype = lambda name: np.int32 if whole(name) else np.dtype(jnp.result_type(float))
  member = programs.Member(
    key=np.asarray(jax.random.key_data(keys)),
    order_key=np.asarray(jax.random.key_data(keys if order_keys is None else order_keys)),
    index={name: np.asarray(problem.index[name], np.int32) for name in sorted(method.needs)},
    hp={name: np.asarray([h[name] for h in hp], dtype(name)) for name in traced},
    draws=dict(draws),
  )
  return problem.population.place(member)


def _epoch_samples(phase, static, sizes):
  return sum(streams.visits(p.stream, sizes, static[p.batch_size]) for p in phase.passes)


def sample_passes(method: Method, phases: Sequence[Any], hp: Mapping[str, Any], sizes) -> float:
  """Return equivalent sample-passes of one member: 3 per sample trained on (evaluation.md 5)."""
  trained = sum(phase.epochs(hp) * _epoch_samples(phase, hp, sizes) for phase in phases)
  return float(method.prepare_samples(hp, sizes) + 3 * trained)
