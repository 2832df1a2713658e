"""Waves: members that do not fit at once give the same bits one wave after another."""

import jax
import numpy as np
import pytest
from support import problems, sweeps

from jaxmu.engine.population import Population, member_keys
from jaxmu.errors import UserError
from jaxmu.execution import members, predictions, programs, waves
from jaxmu.store import Run
from jaxmu.studies.legs import Legs
from jaxmu.unlearning import get

CASES = [(5, 2, 1, 1), (10, 4, 2, 1), (7, 3, 2, 1), (6, 5, 2, 1), (9, 4, 1, 2), (11, 4, 2, 2)]
SEEDS = range(5)


@pytest.mark.parametrize(("size", "at_once", "devices", "chunk"), CASES)
def test_waves_cover_all_members_once_in_equal_places(size, at_once, devices, chunk):
  who = Population(size, chunk, tuple(jax.devices()[:devices]))
  split = who.waves(at_once)
  covered = [k for wave in split for k in range(size)[wave.members]]
  assert covered == list(range(size))
  assert len(split) == -(-size // at_once)
  assert len({wave.population.frame for wave in split}) == 1
  for chosen, wave in split:
    assert wave.size == chosen.stop - chosen.start <= at_once
    tree = {"a": np.arange(wave.size * 3).reshape(wave.size, 3)}
    placed = wave.place(tree)
    assert placed["a"].shape == (wave.padded, 3)
    np.testing.assert_array_equal(wave.collect(placed)["a"], tree["a"])
    # Every member lies in a chunk that is computed, and no chunk without members is.
    chunks = np.asarray(placed["a"][:, 0] // 3).reshape(devices, -1, chunk)
    computed = [set(row[:count].ravel()) for row, count in zip(chunks, wave.counts)]
    assert set().union(*computed) == set(range(wave.size))
    assert sum(wave.counts) == -(-wave.size // chunk)
    assert max(wave.counts) == -(-wave.size // chunk // devices)


def test_all_members_are_one_wave_unless_told_otherwise():
  who = Population(5)
  for at_once in (None, 5, 9):
    assert who.waves(at_once) == ((slice(0, 5), who),)
  with pytest.raises(UserError, match=r"^a wave needs at least 1 member, got 0$"):
    who.waves(0)


def execute(name, at_once=None, devices=1, vary=True, **options):
  """Run a method on five members of different splits and rates; returns outcome, legs, programs."""
  method, problem = get(name), problems.problem(5, devices=devices, shifts=[0, 3, 5, 7, 11])
  row = problems.TABLE[name]
  given = [{**row.small, **(row.vary[k % 3] if vary else {})} for k in SEEDS]
  hp, legs = [method.hyperparameters(each) for each in given], []
  on_leg = options.pop("on_leg", lambda leg: None)

  def note(leg):
    legs.append(leg)
    on_leg(leg)

  outcome = waves.run(
    method,
    problem,
    problems.weights(SEEDS),
    hp=hp,
    keys=member_keys(SEEDS),
    at_once=at_once,
    on_leg=note,
    **options,
  )
  static = members.options(method, problem.task, hp, None)
  frame = problem.population.waves(at_once)[0].population
  built = programs.build(frame, problem.task, method, static)
  variables = problem.population.collect(outcome.variables)
  return outcome._replace(variables=variables), legs, built


def losses(legs):
  """Return (phase, epoch) -> losses [K, T] of all members, from legs of any waves."""
  found = {}
  for leg in legs:
    if not leg.replay:
      found.setdefault((leg.number, leg.epoch), []).append((leg.members.start, leg.metrics.loss))
  return {key: np.concatenate([x for _, x in sorted(each)]) for key, each in found.items()}


def every(built):
  rest = (built.rewind, built.finish)
  return [built.prepare, *built.start, *built.epoch, *(program for program in rest if program)]


@pytest.mark.parametrize(
  ("name", "devices"),
  [("ft", 1), ("ft", 2), pytest.param("fcs", 2, marks=pytest.mark.slow), ("scrub", 2)],
)
def test_waves_give_the_bits_of_all_members_at_once(name, devices):
  """Different rates and epochs; fcs has two phases, scrub a teacher and a rewind."""
  whole, legs, _ = execute(name, devices=devices, vary=name != "scrub")
  parts, some, _ = execute(name, at_once=2, devices=devices, vary=name != "scrub")
  assert problems.equal(whole.variables, parts.variables)
  a, b = losses(legs), losses(some)
  assert a.keys() == b.keys()
  assert all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)
  assert (parts.failures, parts.passes) == (whole.failures, whole.passes)
  assert {leg.waves for leg in some} == {3}
  assert sum(leg.samples for leg in some) == sum(leg.samples for leg in legs)


def test_all_waves_legs_and_resumed_runs_share_one_compilation():
  """One wave traces each program; later epochs, waves and a resumed run do not trace again."""
  saved = []
  take = lambda leg: saved.append(leg.snapshot()) if (leg.wave, leg.number) == (1, 0) else None
  _, _, built = execute("fcs", at_once=2, on_leg=take)
  traced = [program.traces for program in every(built)]
  compiled = [len(program._compiled) for program in every(built)]
  assert set(compiled) == {1}
  resumed, _, again = execute("fcs", at_once=2, resume=saved[0])
  assert again is built
  assert [program.traces for program in every(built)] == traced
  assert resumed.compile_seconds == 0


class Shelf(dict):
  """Keeps finished waves in memory."""

  def get(self, wave):
    return super().get(wave.members.start)

  def put(self, wave, outcome):
    self[wave.members.start] = outcome


class Killed(Exception):
  pass


@pytest.mark.parametrize("name", ["ft", "scrub"])
def test_a_killed_run_goes_on_in_its_wave_and_repeats_no_other(name):
  """Killed after the first epoch of the second of three waves."""
  whole, _, _ = execute(name, vary=False)
  shelf, snapshots = Shelf(), []

  def kill(leg):
    if leg.wave == 1:
      snapshots.append(leg.snapshot())
      raise Killed

  with pytest.raises(Killed):
    execute(name, at_once=2, vary=False, kept=shelf, on_leg=kill)
  assert list(shelf) == [0]
  resumed, rest, _ = execute(name, at_once=2, vary=False, kept=shelf, resume=snapshots[0])
  assert problems.equal(whole.variables, resumed.variables)
  assert [(leg.wave, leg.epoch) for leg in rest if not leg.replay] == [(1, 1), (2, 0), (2, 1)]
  # A snapshot of other members is left alone.
  other, _, _ = execute(name, at_once=3, vary=False, resume=snapshots[0])
  assert problems.equal(whole.variables, other.variables)


def test_predictions_come_in_waves_too():
  problem, variables = problems.problem(5, devices=2), problems.weights(SEEDS)
  given = problem.population, problem.task, problem.arrays, variables, 10
  whole, parts = predictions.logits(*given), predictions.logits(*given, at_once=2)
  assert whole.shape == (5, 38, 4)
  np.testing.assert_array_equal(whole, parts)


def test_a_benchmark_in_waves_is_the_same_benchmark(tmp_path, capsys, monkeypatch):
  """Same directory, same bytes: also where it was interrupted in a later wave of a stage."""
  calm, rough = tmp_path / "calm", tmp_path / "rough"
  arguments = lambda folder, *more: sweeps.arguments(folder, *more, methods="msg")
  assert sweeps.call(*arguments(calm)) == 0
  one = "--config.population.members_at_once=1"
  seen, real = [], Legs.take

  def interrupted(stage, leg):
    real(stage, leg)
    seen.append((stage.name, leg.wave, leg.epoch))
    if seen[-1] == ("msg", 1, 1):
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Legs, "take", interrupted)
    assert sweeps.call(*arguments(rough, one)) == 130
  assert seen[-2:] == [("msg", 1, 0), ("msg", 1, 1)]
  saved = sweeps.only_run(rough) / "legs" / "msg"
  assert [path.name for path in (saved / "waves").iterdir()] == ["0-1"]
  assert sweeps.call(*arguments(rough, one)) == 0
  assert "msg: resuming after epoch 2" in capsys.readouterr().err
  a, b = (sweeps.only_run(folder) for folder in (calm, rough))
  assert a.name == b.name
  for table in ("rows.parquet", "curves.parquet"):
    assert (a / table).read_bytes() == (b / table).read_bytes()
  for stage in ("original", "msg"):
    np.testing.assert_array_equal(*(Run.open(run).array(f"logits/{stage}") for run in (a, b)))
  assert not saved.exists()
