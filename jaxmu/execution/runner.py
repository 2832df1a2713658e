"""Run a method on a population: legs in Python, everything inside a leg compiled."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.engine.population import Population
from jaxmu.execution import accounting, members, programs
from jaxmu.training import Task, TrainState
from jaxmu.training.epoch import NEVER
from jaxmu.training.method import Method
from jaxmu.training.task import Arrays


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
    replay: True where epochs are run again only to rewind; their metrics are known already.
    members: which members these are, where waves of them follow each other.
    wave, waves: number of the wave, and how many there are.
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
  replay: bool = False
  members: slice = slice(None)
  wave: int = 0
  waves: int = 1


class Outcome(NamedTuple):
  """Result of a method on a population.

  Attributes:
    variables: {"params", "batch_stats"}, leaves [K, ...], on the devices (free places included).
    failures: per member "" or the steps in which it was non-finite before it was frozen.
    seconds: wall time of prepare, phases and finish, compilation and replays excluded.
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
  hp = [{**each, **method.derive(each, problem.sizes)} for each in hp]
  static = members.static_values(method, hp, fidelity)
  members.check(method, problem, static, draws or {})
  compiled = programs.build(problem.population, problem.task, method, static)
  member = members.stack(method, problem, static, hp, keys, order_keys, draws or {})
  return _Execution(method, problem, compiled, static, hp, on_leg).run(variables, member, resume)


class _Execution:
  """One run in progress: holds what every leg needs, and adds up times."""

  def __init__(self, method, problem, compiled, static, hp, on_leg):
    self.method, self.problem, self.compiled = method, problem, compiled
    self.static, self.hp, self.on_leg = static, hp, on_leg
    self.seconds = 0.0
    self.compiled_before = compiled.compile_seconds
    self.failures = [""] * problem.population.size

  def run(self, original, member, resume):
    population = self.problem.population
    original, member = population.place(original), population.place(member)
    variables, aux = self._timed(self.compiled.prepare, _copy(original), member)
    failed_at = population.place(np.full((population.size,), NEVER, np.int32))
    first, memory = 0, ()
    if resume is not None:
      first, self.failures = int(resume["phase"]), list(resume["failures"])
      self.seconds = float(resume["seconds"])
      variables, failed_at = (population.place(resume[k]) for k in ("variables", "failed_at"))
    for number in range(first, len(self.compiled.phases)):
      start_phase = self.compiled.start[number]
      variables, fresh = self._timed(start_phase, variables, (member, aux, failed_at))
      state = programs.begun(variables, failed_at, fresh)
      start = 0
      if resume is not None and number == first:
        start = int(resume["epoch"]) + 1
        state = _restore(state, resume["optimizers"], population)
      state = self._phase(number, state, member, aux, start)
      variables = {"params": state.params, "batch_stats": state.batch_stats}
      failed_at, memory = state.failed_at, state.memory
    if self.compiled.rewind is not None:
      replaying = resume if first == len(self.compiled.phases) else None
      variables = self._rewind(original, variables, member, aux, memory, failed_at, replaying)
    if self.compiled.finish is not None:
      variables, _ = self._timed(self.compiled.finish, variables, (member, aux))
    spent = self.compiled.compile_seconds - self.compiled_before
    known = {"fidelity": self.static["fidelity"], "num_classes": self.problem.task.num_classes}
    passes = tuple(
      accounting.sample_passes(
        self.method, self.compiled.phases, {**hp, **known}, self.problem.sizes
      )
      for hp in self.hp
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
      samples = sum(
        accounting.epoch_samples(phase, self.static, self.problem.sizes, epoch, hp)
        for hp in self.hp if epoch < phase.epochs(hp)
      )  # fmt: skip
      self.on_leg(
        Leg(
          phase.name, number, epoch, epochs, metrics.loss.shape[1], metrics,
          samples,
          self.seconds - before, lambda s=state, e=epoch: self._snapshot(number, e, s),
        )
      )  # fmt: skip
    return state

  def _rewind(self, original, variables, member, aux, memory, failed_at, resume):
    """Take members back to the epochs they chose, by running the only phase again up to there.

    The same programs on the same keys give the same models bit for bit, and no epoch's weights need
    to be kept. A member that keeps its last model rests meanwhile. Replays are no run time of the
    method: an implementation for one model would have kept the weights.
    """
    population, start = self.problem.population, 0
    if resume is None:
      prepared, _ = self._call(self.compiled.prepare, _copy(original), member)
      constants = (member, aux, memory, failed_at, prepared)
      variables, targets = self._call(self.compiled.rewind, variables, constants)
      targets = population.collect(targets)
    else:
      targets, start = np.asarray(resume["targets"], np.int32), int(resume["epoch"]) + 1
    if not targets.any():
      return variables
    member = member._replace(until=population.place(targets))
    variables, fresh = self._call(self.compiled.start[0], variables, (member, aux, failed_at))
    state = programs.begun(variables, failed_at, fresh)
    if resume is not None:
      state = _restore(state, resume["optimizers"], population)
    epochs, phase = int(targets.max()), self.compiled.phases[0]
    for epoch in range(start, epochs):
      before = time.perf_counter()
      state, metrics = self._call(self.compiled.epoch[0], state, (member, aux), epoch)
      metrics, seconds = population.collect(metrics), time.perf_counter() - before
      samples = sum(
        accounting.epoch_samples(phase, self.static, self.problem.sizes, epoch, hp)
        for hp, target in zip(self.hp, targets) if epoch < target
      )  # fmt: skip
      snapshot = lambda s=state, e=epoch: {
        **self._snapshot(1, e, s),
        "targets": [int(target) for target in targets],
      }
      self.on_leg(
        Leg(
          "rewind", 1, epoch, epochs, metrics.loss.shape[1], metrics,
          samples, seconds, snapshot, replay=True,
        )
      )  # fmt: skip
    return {"params": state.params, "batch_stats": state.batch_stats}

  def _timed(self, program, state, constant, epoch=0):
    """Run a program and add its time to the method's run time."""
    program.compile(state, constant, self._shared(epoch))
    start = time.perf_counter()
    result = self._call(program, state, constant, epoch)
    self.seconds += time.perf_counter() - start
    return result

  def _call(self, program, state, constant, epoch=0):
    shared, population = self._shared(epoch), self.problem.population
    return jax.block_until_ready(program(state, constant, shared, population))

  def _shared(self, epoch):
    return programs.Shared(self.problem.arrays, np.int32(epoch))

  def _note_failures(self, phase, epoch, metrics, failed_at):
    steps = metrics.loss.shape[1]
    for k, step in enumerate(failed_at):
      if step != NEVER and not self.failures[k]:
        self.failures[k] = (
          f"{phase.name}: epoch {epoch + 1} (steps {step}-{(epoch + 1) * steps - 1})"
        )

  def _snapshot(self, number, epoch, state: TrainState):
    collect = self.problem.population.collect
    leaves = jax.tree.leaves(collect((state.optimizers, state.memory)))
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
  tree = jax.tree.structure((state.optimizers, state.memory))
  optimizers, memory = jax.tree.unflatten(tree, leaves)
  return state._replace(optimizers=optimizers, memory=memory)


def _copy(tree):
  """Copy arrays: programs write into the buffers that they are given."""
  return jax.tree.map(jnp.copy, tree)
