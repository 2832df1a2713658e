"""Coming stages' programs are compiled in the background while the present one trains.

XLA compiles without Python's lock, so a thread or two keep cores busy that a stage leaves idle
while it waits for its own compilation. They fill the tables that the foreground reads
(`engine.executables`): it finds its programs there, waits for one that is under way, or compiles
what nobody has begun. Numbers do not depend on it.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

import jax

from jaxmu.engine import executables, runtime
from jaxmu.errors import UserError
from jaxmu.execution import predictions, waves
from jaxmu.execution.capacity import Capacity, capacity
from jaxmu.execution.runner import Problem
from jaxmu.training.method import Method
from jaxmu.training.phase import Variables

AUTO = 0  # as many members at once as `capacity` says
THREADS_ENV = "JAXMU_COMPILE_AHEAD"
MOST = 4  # compilations at a time; each takes memory of its own


def default_threads() -> int:
  """Return how many programs to compile at a time: what the environment says, or one per core.

  None where an accelerator computes: XLA times kernels there when it compiles, and beside training
  it would choose others.

  Raises:
    UserError: the environment holds no number of threads.
  """
  asked = os.environ.get(THREADS_ENV, "")
  if asked and not asked.isdecimal():
    raise UserError(f"{THREADS_ENV} must be a number of threads, 0 for none, got '{asked}'")
  if asked:
    return int(asked)
  return min(runtime.cores(), MOST) if jax.default_backend() == "cpu" else 0


class Job(NamedTuple):
  """What a stage will run, and so what is to be compiled for it.

  Attributes:
    method, problem: as for `runner.run`.
    variables: descriptions (or arrays) of leaves [K, ...].
    hp, fidelity: as for `runner.run`.
    at_once: members that are on the devices together; AUTO: those that fit; None: all.
    batch_size: samples per step of the predictions afterwards; 0 where there are none.
  """

  method: Method
  problem: Problem
  variables: Variables
  hp: Sequence[Mapping[str, Any]]
  fidelity: str | None = None
  at_once: int | None = AUTO
  batch_size: int = 0


class Stopped(Exception):
  """Compiling ahead was closed, or would take room from programs in use."""


class CompileAhead:
  """A few threads that compile what they are told of, in that order, until they are closed.

  A failure stays in the background: the foreground compiles the same program itself, and raises
  what that raises. Threads know jax's global settings, not a caller's `with` settings.

  Args:
    threads: compilations at a time; 0 compiles nothing ahead; None: `default_threads`.
  """

  def __init__(self, threads: int | None = None) -> None:
    threads = default_threads() if threads is None else threads
    self._closed = threading.Event()
    self._pool = ThreadPoolExecutor(threads, "compile-ahead") if threads else None

  def submit(self, job: Job) -> Future[None]:
    """Compile a job's programs when its turn comes; `cancel` the result where that is too late."""
    if self._pool is None:
      nothing: Future[None] = Future()
      nothing.cancel()
      return nothing
    return self._pool.submit(compile_job, job, self._check)

  def close(self) -> None:
    """Drop what is not begun, and end after the programs that are being compiled now.

    Those cannot be left alone: a process that ends while XLA compiles aborts (exit code 134).
    Only `os._exit` ends it at once.
    """
    self._closed.set()
    if self._pool is not None:
      self._pool.shutdown(wait=True, cancel_futures=True)

  def _check(self) -> None:
    """Stop when closed, and before programs in use would have to give way to later ones."""
    if self._closed.is_set() or executables.crowded():
      raise Stopped

  def __enter__(self) -> "CompileAhead":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self.close()


def compile_job(job: Job, before: Callable[[], None] = lambda: None) -> None:
  """Compile everything that a stage runs.

  Args:
    before: called before each program; what it raises ends the job.
  """
  at_once = job.at_once
  if at_once == AUTO:
    at_once = _capacity(job, job.problem, before).at_once
  first = job.problem.population.waves(at_once)[0]
  if job.at_once != AUTO or first.population.size < job.problem.population.size:
    _capacity(job, waves.restrict(job.problem, first), before)
  if job.batch_size:
    before()
    problem = job.problem
    predictions.compile_logits(
      problem.population, problem.task, problem.arrays, job.variables, job.batch_size, at_once
    )


def _capacity(job: Job, problem: Problem, before: Callable[[], None]) -> Capacity:
  """Compile the programs for the members of one wave, and say how many fit."""
  members = problem.population.size
  lay = lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape[1:]), leaf.dtype)
  return capacity(
    job.method,
    problem,
    jax.tree.map(lay, job.variables),
    hp=job.hp[:members],
    fidelity=job.fidelity,
    before=before,
  )
