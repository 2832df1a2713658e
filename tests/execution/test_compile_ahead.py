"""Compiling ahead: the foreground finds what the background compiled, and hears of every error."""

import threading
import time

import jax
import numpy as np
import pytest
from support import problems

from jaxmu.engine import executables
from jaxmu.engine.population import member_keys
from jaxmu.errors import UserError
from jaxmu.execution import compile_ahead, members, predictions, programs, runner
from jaxmu.execution.compile_ahead import CompileAhead, Job, compile_job
from jaxmu.unlearning import get

SEEDS = range(3)


@pytest.fixture
def fresh():
  """Let no other test's programs be found."""
  programs._build.cache_clear()
  predictions._make.cache_clear()


def job(name="ft", problem=None, **options):
  """Return a method's job on three members, with descriptions of their weights."""
  problem, method = problem or problems.problem(3, devices=2), get(name)
  hp = [method.hyperparameters(problems.TABLE[name].small)] * 3
  describe = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
  weights = jax.tree.map(describe, problems.weights(SEEDS))
  return Job(method, problem, weights, hp, **options)


def run(given):
  return runner.run(
    given.method,
    given.problem,
    problems.weights(SEEDS),
    hp=given.hp,
    keys=member_keys(SEEDS),
  )


def traces(given):
  """Return how often each program of a job was traced, and its executables."""
  problem = given.problem
  static = members.options(given.method, problem.task, given.hp, None)
  built = programs.build(problem.population, problem.task, given.method, static)
  every = [built.prepare, *built.start, *built.epoch, built.rewind, built.finish]
  kept = [program for program in every if program]
  return [program.traces for program in kept], [tuple(program._compiled) for program in kept]


def test_the_foreground_runs_the_very_executables_of_the_background(fresh):
  given = job("scrub")
  with CompileAhead() as ahead:
    ahead.submit(lambda: given).result()
  compiled = traces(given)
  assert all(compiled[0])
  outcome = run(given)
  assert traces(given) == compiled
  assert outcome.compile_seconds == 0
  programs._build.cache_clear()
  assert problems.equal(outcome.variables, run(given).variables)


def test_predictions_are_compiled_with_their_stage(fresh):
  given = job(batch_size=10)
  given = given._replace(predicted=given.problem.arrays)
  compile_job(given)
  problem, found = given.problem, problems.weights(SEEDS)
  float32 = predictions.dataclasses.replace(problem.task, compute="float32")
  program = predictions._program(problem.population.frame, float32, 38, 10)
  traced = program.traces
  assert traced
  predictions.logits(problem.population, problem.task, problem.arrays, found, 10)
  assert program.traces == traced


def test_seconds_of_the_background_are_nobodys_waiting_time(fresh):
  given = job()
  with CompileAhead() as ahead:
    ahead.submit(lambda: given).result()
  static = members.options(given.method, given.problem.task, given.hp, None)
  built = programs.build(given.problem.population, given.problem.task, given.method, static)
  assert built.compile_seconds == 0
  assert run(given).compile_seconds == 0


def test_an_error_stays_in_the_background_until_the_foreground_meets_it(fresh, monkeypatch):
  def fail(*_):
    raise RuntimeError("the compiler gave up")

  given = job()
  with monkeypatch.context() as patch, CompileAhead() as ahead:
    patch.setattr("jaxmu.engine.alike._compile", fail)
    failed = ahead.submit(lambda: given)
    assert isinstance(failed.exception(), RuntimeError)
    with pytest.raises(RuntimeError, match=r"^the compiler gave up$"):
      run(given)
  assert np.isfinite(jax.tree.leaves(run(given).variables)[0]).all()


def test_closing_leaves_what_is_not_begun_and_ends_after_one_program(fresh, monkeypatch):
  begun, go, compiled = threading.Event(), threading.Event(), []

  def slowly(*_):
    compiled.append(1)
    begun.set()
    assert go.wait(60)
    raise RuntimeError("never mind")

  monkeypatch.setattr("jaxmu.engine.alike._compile", slowly)
  ahead = CompileAhead(1)
  running, *waiting = [ahead.submit(lambda name=name: job(name)) for name in ("ft", "msg", "scrub")]
  assert begun.wait(60)
  closing = threading.Thread(target=ahead.close)
  closing.start()
  while not all(each.cancelled() for each in waiting):  # without waiting for what runs
    assert not running.done()
    time.sleep(0.01)
  go.set()
  closing.join(60)
  assert not closing.is_alive()
  assert running.done()
  assert compiled == [1]


def test_a_job_stops_between_programs_once_closed(fresh):
  given, ahead = job("scrub"), CompileAhead(1)
  ahead.close()
  with pytest.raises(compile_ahead.Stopped):
    compile_job(given, ahead._check)
  assert traces(given)[0] == [0] * len(traces(given)[0])


def test_nothing_gives_way_to_programs_of_later_stages(fresh, monkeypatch):
  given = job()
  with CompileAhead(1) as ahead:
    monkeypatch.setattr(executables, "crowded", lambda: True)
    assert isinstance(ahead.submit(lambda: given).exception(), compile_ahead.Stopped)
  assert sum(traces(given)[0]) == 0


def test_without_threads_nothing_is_compiled_ahead(fresh):
  given = job()
  with CompileAhead(0) as ahead:
    assert ahead.submit(lambda: given).cancelled()
  assert sum(traces(given)[0]) == 0


@pytest.mark.parametrize(
  ("asked", "cores", "threads"), [("", 1, 0), ("", 2, 2), ("", 64, 4), ("3", 1, 3)]
)
def test_there_is_a_thread_a_core_where_cores_can_be_idle_unless_told_otherwise(
  monkeypatch, asked, cores, threads
):
  monkeypatch.setenv(compile_ahead.THREADS_ENV, asked)
  monkeypatch.setattr(compile_ahead.runtime, "cores", lambda: cores)
  assert compile_ahead.default_threads() == threads


def test_accelerators_are_left_to_training(monkeypatch):
  monkeypatch.delenv(compile_ahead.THREADS_ENV, raising=False)
  monkeypatch.setattr(compile_ahead.jax, "default_backend", lambda: "gpu")
  assert compile_ahead.default_threads() == 0


def test_refuses_what_is_no_number_of_threads(monkeypatch):
  monkeypatch.setenv(compile_ahead.THREADS_ENV, "-1")
  with pytest.raises(
    UserError, match=r"^JAXMU_COMPILE_AHEAD must be a number of threads, 0 for none, got '-1'$"
  ):
    CompileAhead()


def test_background_and_foreground_at_once_compile_each_program_once(fresh):
  given = job("scrub")
  with CompileAhead(2) as ahead:
    ahead.submit(lambda: given)
    ahead.submit(lambda: given)
    run(given)
  once = traces(given)
  programs._build.cache_clear()
  compile_job(given)
  assert traces(given)[0] == once[0]
