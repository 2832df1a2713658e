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
from jaxmu.execution import predictions
from jaxmu.execution.capacity import capacity
from jaxmu.execution.problem import Problem
from jaxmu.training.method import Method
from jaxmu.training.phase import Variables
from jaxmu.training.task import Arrays

THREADS_ENV = "JAXMU_COMPILE_AHEAD"
MOST = 4  # compilations at a time; each takes memory of its own


def default_threads() -> int:
  """Return how many programs to compile at a time: what the environment says, or one per core.

  None where an accelerator computes: XLA times kernels there when it compiles, and beside training
  it would choose others. None on a single core: nothing is idle there, and of several processes
  each would read programs of stages that another one works on.

  Raises:
    UserError: the environment holds no number of threads.
  """
  asked = os.environ.get(THREADS_ENV, "")
  if asked and not asked.isdecimal():
    raise UserError(f"{THREADS_ENV} must be a number of threads, 0 for none, got '{asked}'")
  if asked:
    return int(asked)
  cores = runtime.cores()
  return min(cores, MOST) if jax.default_backend() == "cpu" and cores > 1 else 0


class Job(NamedTuple):
  """What a stage will run, and so what is to be compiled for it.

  Attributes:
    method, problem: as for `runner.run`.
    variables: descriptions (or arrays) of leaves [K, ...].
    hp, fidelity: as for `runner.run`.
    predicted: samples of the predictions afterwards; None where there are none.
    batch_size: samples per step of these.
  """

  method: Method
  problem: Problem
  variables: Variables
  hp: Sequence[Mapping[str, Any]]
  fidelity: str | None = None
  predicted: Arrays | None = None
  batch_size: int = 500


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

  def submit(self, make: Callable[[], Job]) -> Future[None]:
    """Make a job when its turn comes, and compile its programs; `cancel` where that is too late."""
    if self._pool is None:
      nothing: Future[None] = Future()
      nothing.cancel()
      return nothing
    return self._pool.submit(lambda: compile_job(make(), self._check))

  def close(self, wait: bool = True) -> None:
    """Drop what is not begun, and end after the programs that are being compiled now.

    Args:
      wait: False leaves these alone. An ordinary end of the process would still wait for them, as
        one that ends while XLA compiles aborts (exit code 134): only `os._exit` ends it at once.
    """
    self._closed.set()
    if self._pool is not None:
      self._pool.shutdown(wait=wait, cancel_futures=True)

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
    self.close(wait=not isinstance(error, KeyboardInterrupt))  # a stopped process has no time


def compile_job(job: Job, before: Callable[[], None] = lambda: None) -> None:
  """Compile everything that a stage runs.

  Args:
    before: called before each program; what it raises ends the job.
  """
  problem = job.problem
  capacity(job.method, problem, job.variables, hp=job.hp, fidelity=job.fidelity, before=before)
  if job.predicted is not None:
    before()
    predictions.compile_logits(
      problem.population, problem.task, job.predicted, job.variables, job.batch_size
    )
