"""Run a method on a population: legs in Python, everything inside a leg compiled."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.engine.population import Population, Program
from jaxmu.errors import MethodError
from jaxmu.execution import accounting, members, programs
from jaxmu.execution.accounting import WHOLE, Span
from jaxmu.execution.observations import Leg, Outcome, Snapshot
from jaxmu.execution.problem import Problem
from jaxmu.execution.programs import Member, Programs
from jaxmu.training import EpochMetrics, Phase, TrainState
from jaxmu.training.epoch import NEVER
from jaxmu.training.method import Method
from jaxmu.training.phase import Options, Variables


def run(
  method: Method,
  problem: Problem,
  variables: Variables,
  *,
  hp: Sequence[Mapping[str, Any]],
  keys: jax.Array,
  order_keys: jax.Array | None = None,
  fidelity: str | None = None,
  draws: Mapping[str, Any] | None = None,
  on_leg: Callable[[Leg], None] = lambda leg: None,
  on_compile: Callable[[], None] = lambda: None,
  resume: Snapshot | None = None,
  span: Span = WHOLE,
  failed: Sequence[str] = (),
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
    on_compile: called before every program that is not compiled yet.
    resume: a snapshot to go on from; everything before it is skipped, bit for bit.
    span: the epochs that are this run's. Those before it are run only where no snapshot has seen
      them; members with more epochs come back as they are at its end, and their state as well.
    failed: per member where it turned non-finite before, "" if it did not: it rests throughout, and
      keeps that failure. Empty: none did.

  Raises:
    MethodError: for unknown draws, missing sets, members that differ in a static value, or a span
      of a method with several phases.
  """
  hp = members.derived(method, problem, hp)
  options = members.options(method, problem.task, hp, fidelity)
  members.check(method, problem, draws or {})
  compiled = programs.build(problem.population, problem.task, method, options)
  members.check_padding(method, problem, compiled.phases)
  member = members.stack(method, problem, options, hp, keys, order_keys, draws or {})
  if span != WHOLE and len(compiled.phases) != 1:
    raise MethodError(f"{method.name} has {len(compiled.phases)} phases and cannot stop midway")
  failures = list(failed) or [""] * problem.population.size
  listeners = _Listeners(on_leg, on_compile)
  execution = _Execution(method, problem, compiled, options, hp, listeners, span, failures)
  return execution.run(variables, member, resume)


class _Listeners(NamedTuple):
  """Who is told of epochs, and of programs about to be compiled."""

  leg: Callable[[Leg], None]
  compile: Callable[[], None]


class _Span(NamedTuple):
  """Epochs to run one after another: a phase, or its repetition up to where members go back to.

  Attributes:
    name, number: of the phase, for whoever looks on.
    phase, program: what runs.
    ends: per member, the number of epochs in which it takes part.
    targets: the same of a repetition; () else.
  """

  name: str
  number: int
  phase: Phase
  program: Program
  ends: tuple[int, ...]
  targets: tuple[int, ...] = ()


class _Execution:
  """One run in progress: holds what every leg needs, and adds up times."""

  def __init__(
    self,
    method: Method,
    problem: Problem,
    compiled: Programs,
    options: Options,
    hp: Sequence[Mapping[str, Any]],
    listeners: _Listeners,
    asked: Span,
    failures: list[str],
  ):
    self.method, self.problem, self.compiled = method, problem, compiled
    self.options, self.hp, self.tell, self.asked = options, hp, listeners, asked
    self.failures = failures
    self.sizes = problem.member_sizes
    self.state: Snapshot | None = None
    self.seconds = 0.0
    self.compiled_before = compiled.compile_seconds

  def run(self, original: Variables, member: Member, resume: Snapshot | None) -> Outcome:
    population, compiled = self.problem.population, self.compiled
    original, member = population.place(original), population.place(member)
    variables, aux = self._timed(compiled.prepare, _copy(original), member)
    started = [0 if failure else NEVER for failure in self.failures]
    failed_at = population.place(np.array(started, np.int32))
    first, memory = 0, ()
    if resume is not None:
      first, self.failures, self.seconds = resume.phase, list(resume.failures), resume.seconds
      variables, failed_at = population.place(resume.variables), population.place(resume.failed_at)
    for number in range(first, len(compiled.phases)):
      variables, fresh = self._timed(compiled.start[number], variables, (member, aux, failed_at))
      state = programs.begun(variables, failed_at, fresh)
      going_on = resume if number == first else None
      state = self._run(self._phase(number), state, member, aux, going_on)
      variables = {"params": state.params, "batch_stats": state.batch_stats}
      failed_at, memory = state.failed_at, state.memory
    if compiled.rewind is not None:
      replaying = resume if first == len(compiled.phases) else None
      constants = member, aux, memory, failed_at
      variables = self._rewind(compiled.rewind, original, variables, constants, replaying)
    if compiled.finish is not None:
      variables, _ = self._timed(compiled.finish, variables, (member, aux))
    spent = compiled.compile_seconds - self.compiled_before
    failures, passes, left = tuple(self.failures), self._passes(), self._left()
    return Outcome(variables, failures, self.seconds, spent, passes, left, self.state)

  def _passes(self) -> tuple[float, ...]:
    count = lambda hp, sizes: accounting.sample_passes(
      self.method, self.compiled.phases, hp, sizes, self.options, self.asked
    )
    return tuple(map(count, self.hp, self.sizes))

  def _left(self) -> tuple[int, ...]:
    """Count the epochs of each member that come after those asked for."""
    (*_, last) = self.compiled.phases or (None,)
    after = lambda hp: 0 if last is None else max(int(last.epochs(hp)) - self.asked.stop, 0)
    return tuple(map(after, self.hp))

  def _phase(self, number: int) -> _Span:
    phase = self.compiled.phases[number]
    ends = tuple(min(int(phase.epochs(hp)), self.asked.stop) for hp in self.hp)
    return _Span(phase.name, number, phase, self.compiled.epoch[number], ends)

  def _run(
    self, span: _Span, state: TrainState, member: Member, aux: Any, resume: Snapshot | None
  ) -> TrainState:
    """Run the epochs of a span, or those that a snapshot has not seen yet."""
    start = 0
    if resume is not None:
      start = resume.epoch + 1
      state = _restore(state, resume.optimizers, self.problem.population)
    for epoch in range(start, max(span.ends)):
      (state, metrics), seconds = self._call(span.program, state, (member, aux), epoch)
      if not span.targets:  # see `_rewind`
        self.seconds += seconds
      self._tell(span, epoch, state, self.problem.population.collect(metrics), seconds)
    if not span.targets and any(self._left()):
      self.state = self._snapshot(span, max(span.ends) - 1, state)
    return state

  def _tell(
    self, span: _Span, epoch: int, state: TrainState, metrics: EpochMetrics, seconds: float
  ) -> None:
    if not span.targets:
      failed_at = self.problem.population.collect(state.failed_at)
      self._note_failures(span.name, epoch, metrics, failed_at)
    samples = sum(
      accounting.epoch_samples(span.phase, sizes, epoch, hp)
      for hp, sizes, end in zip(self.hp, self.sizes, span.ends)
      if epoch < end
    )
    self.tell.leg(
      Leg(
        phase=span.name,
        number=span.number,
        epoch=epoch,
        epochs=max(span.ends),
        steps=metrics.loss.shape[1],
        metrics=metrics,
        samples=samples,
        seconds=seconds,
        snapshot=lambda: self._snapshot(span, epoch, state),
        replay=bool(span.targets),
      )
    )

  def _rewind(
    self,
    choose: Program,
    original: Variables,
    variables: Variables,
    constants: tuple,
    resume: Snapshot | None,
  ) -> Variables:
    """Take members back to the epochs they chose, by running the only phase again up to there.

    The same programs on the same keys give the same models bit for bit, and no epoch's weights need
    to be kept. A member that keeps its last model rests meanwhile. Replays are no run time of the
    method: an implementation for one model would have kept the weights.
    """
    population, compiled = self.problem.population, self.compiled
    member, aux, memory, failed_at = constants
    if resume is None:
      (prepared, _), _ = self._call(compiled.prepare, _copy(original), member)
      known = (member, aux, memory, failed_at, prepared)
      (variables, chosen), _ = self._call(choose, variables, known)
      targets = tuple(int(target) for target in population.collect(chosen))
    else:
      targets = resume.targets
    if not any(targets):
      return variables
    member = member._replace(until=population.place(np.asarray(targets, np.int32)))
    (variables, fresh), _ = self._call(compiled.start[0], variables, (member, aux, failed_at))
    state = programs.begun(variables, failed_at, fresh)
    again = self._phase(0)._replace(name="rewind", number=1, ends=targets, targets=targets)
    state = self._run(again, state, member, aux, resume)
    return {"params": state.params, "batch_stats": state.batch_stats}

  def _timed(self, program: Program, state: Any, constant: Any) -> Any:
    """Run a program and add its time to the method's run time."""
    result, seconds = self._call(program, state, constant)
    self.seconds += seconds
    return result

  def _call(self, program: Program, state: Any, constant: Any, epoch: int = 0) -> tuple[Any, float]:
    """Run a program; return its result, and the seconds that it took without compiling."""
    shared = programs.Shared(self.problem.arrays, np.int32(epoch))
    if not program.is_compiled(state, constant, shared):
      self.tell.compile()
    program.compile(state, constant, shared)
    start = time.perf_counter()
    result = jax.block_until_ready(program(state, constant, shared, self.problem.population))
    return result, time.perf_counter() - start

  def _note_failures(
    self, phase: str, epoch: int, metrics: EpochMetrics, failed_at: np.ndarray
  ) -> None:
    last = (epoch + 1) * metrics.loss.shape[1] - 1
    for k, step in enumerate(failed_at):
      if step != NEVER and not self.failures[k]:
        self.failures[k] = f"{phase}: epoch {epoch + 1} (steps {step}-{last})"

  def _snapshot(self, span: _Span, epoch: int, state: TrainState) -> Snapshot:
    collect = self.problem.population.collect
    leaves = jax.tree.leaves(collect((state.optimizers, state.memory)))
    return Snapshot(
      phase=span.number,
      epoch=epoch,
      seconds=self.seconds,
      failures=tuple(self.failures),
      variables={"params": collect(state.params), "batch_stats": collect(state.batch_stats)},
      failed_at=collect(state.failed_at),
      optimizers={str(i): leaf for i, leaf in enumerate(leaves)},
      targets=span.targets,
    )


def _restore(state: TrainState, saved: Mapping[str, Any], population: Population) -> TrainState:
  leaves = [population.place(saved[str(i)]) for i in range(len(saved))]
  tree = jax.tree.structure((state.optimizers, state.memory))
  optimizers, memory = jax.tree.unflatten(tree, leaves)
  return state._replace(optimizers=optimizers, memory=memory)


def _copy(tree: Any) -> Any:
  """Copy arrays: programs write into the buffers that they are given."""
  return jax.tree.map(jnp.copy, tree)
