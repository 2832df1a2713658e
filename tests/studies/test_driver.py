"""Driving a study: units in order, shared among processes, each once, made smaller, one alone."""

import multiprocessing
import threading

import numpy as np
import pytest
from support import simulated

from jaxmu.errors import Busy, Interrupted, NeedMissing, SettingsError, UserError
from jaxmu.store import attempts, unit_attempts
from jaxmu.store.record import Record
from jaxmu.studies import driver as driving
from jaxmu.studies import units
from jaxmu.studies.work import TooLarge


@pytest.fixture
def folder(tmp_path):
  """A run directory without others beside it, from which members would be borrowed."""
  return tmp_path / "run"


def joined(path, name="ft"):
  return Record(path).logits(name)[:, 0, 0].tolist()


def test_every_unit_is_worked_once_parents_first(folder):
  driver, work = simulated.driver(folder)
  done = driver.run(simulated.stages(5))
  assert [stage.name for stage in done] == ["original", "ft", "ga"]
  assert len(work.done) == len(set(work.done)) == 9  # three units of at most two for each stage
  assert [key.split("/")[0] for key in work.done] == ["original"] * 3 + ["ft"] * 3 + ["ga"] * 3
  assert joined(folder) == [0, 1, 2, 3, 4]
  again, work = simulated.driver(folder)
  again.run(simulated.stages(5))
  assert work.done == []


def test_growth_works_what_is_new_alone(folder):
  simulated.driver(folder)[0].run(simulated.stages(3))
  before = {path: path.read_bytes() for path in folder.glob("stages/*/*/*")}
  driver, _ = simulated.driver(folder)
  driver.run(simulated.stages(7))
  assert joined(folder) == list(range(7))
  assert {path: path.read_bytes() for path in before} == before
  assert sorted(len(group.members) for group in driver.record.groups("ft")) == [1, 1, 1, 2, 2]


def test_fewer_members_are_a_part_of_what_is_there(folder):
  simulated.driver(folder, most=10)[0].run(simulated.stages(7))
  driver, work = simulated.driver(folder)
  driver.run(simulated.stages(4))
  assert work.done == [] and joined(folder) == [0, 1, 2, 3]


def test_other_identities_are_passed_over(folder):
  simulated.driver(folder)[0].run(simulated.stages(3))
  driver, work = simulated.driver(folder)
  driver.identities = simulated.Identities("2")
  driver.run(simulated.stages(3))
  assert len(work.done) == 6 and joined(folder) == [0, 1, 2]


def test_rows_are_given_when_they_are_looked_at(folder):
  """A study may ask for more after it has seen results; whoever does not look goes on at once."""
  seen = []

  def asking(count):
    (first, second, _) = simulated.stages(count)
    rows = yield first
    seen.append([row["RA"] for row in rows])
    rows = yield second._replace(members=second.members[: len(rows) - 1])

  driver, work = simulated.driver(folder)
  driver.run(asking(3))
  assert seen == [[0, 1e-6, 2e-6]]
  assert joined(folder) == [0, 1]
  assert [key.split("/")[0] for key in work.done] == ["original", "original", "ft"]


def process(path, barrier, results):
  driver, work = simulated.driver(path, most=1)
  barrier.wait()
  driver.run(simulated.stages(20))
  results.put(work.done)


def test_processes_share_the_work_each_unit_once(folder):
  context = multiprocessing.get_context("spawn")
  barrier, results = context.Barrier(3), context.Queue()
  workers = [context.Process(target=process, args=(folder, barrier, results)) for _ in range(3)]
  for worker in workers:
    worker.start()
  done = [results.get(timeout=120) for _ in workers]
  for worker in workers:
    worker.join()
  every = [key for keys in done for key in keys]
  assert len(every) == len(set(every)) == 60
  assert joined(folder) == list(range(20))
  assert not list(folder.glob("stages/*/.[0-9]*"))  # no attempt is left


def test_a_unit_in_work_is_waited_for_and_then_taken_over(folder, monkeypatch):
  monkeypatch.setattr(driving, "PAUSE", 0.01)
  said = []
  driver, work = simulated.driver(folder, most=3, say=said.append)
  planned = next(simulated.stages(3))
  unit = units.divide(planned, driver.identities.add(planned), range(3), 3)[0]
  held, freed = threading.Event(), threading.Event()

  def hold():
    with attempts.lock(driver.record.legs("original", unit.name) / ".lock") as mine:
      assert mine
      held.set()
      freed.wait(60)

  other = threading.Thread(target=hold)
  other.start()
  held.wait(60)
  threading.Timer(0.3, freed.set).start()
  driver.run(simulated.stages(3))
  other.join()
  assert said.count("waiting for 3 units that other processes work on") == 1
  assert len(work.done) == 3


def test_one_unit_by_its_key(folder, monkeypatch):
  monkeypatch.setattr(driving, "PAUSE", 0.01)
  driver, _ = simulated.driver(folder)
  driver.add_all(simulated.stages(4), lambda stage: [])
  keys = {stage.name: [u.key for u in driver.units(stage)] for stage in driver.stages}
  one = lambda key: simulated.driver(folder)[0].run_one(simulated.stages(4), key, patience=0.05)
  with pytest.raises(NeedMissing, match=r"starts from models of stage 'original'"):
    one(keys["ft"][0])
  one(keys["original"][0])
  one(keys["original"][0])  # done before
  one(keys["ft"][0])
  with pytest.raises(NeedMissing):
    one(keys["ft"][1])
  assert len(list(folder.glob("stages/*/*"))) == 2
  with pytest.raises(SettingsError, match="there is no unit 'ft/nothing' to do; "):
    one("ft/nothing")
  held = Record(folder).legs(*keys["original"][1].split("/")) / ".lock"
  with attempts.lock(held), pytest.raises(Busy, match="another process works on original/"):
    one(keys["original"][1])


class Crashing(simulated.Work):
  """Work that fails, or is stopped, as long as `reason` says so."""

  reason = None

  def __call__(self, unit):
    if self.reason is not None:
      raise self.reason
    super().__call__(unit)


def test_a_unit_that_crashes_again_and_again_is_refused_where_it_is_alone(folder, monkeypatch):
  driver, _ = simulated.driver(folder)
  driver.add_all(simulated.stages(2), lambda stage: [])
  (unit,) = driver.units(driver.stages[0])
  one = lambda: simulated.driver(folder, Crashing)[0].run_one(simulated.stages(2), unit.key)
  legs = driver.record.legs("original", unit.name)
  monkeypatch.setattr(Crashing, "reason", Interrupted(75, "SIGTERM"))
  for _ in range(4):
    with pytest.raises(Interrupted):
      one()
  monkeypatch.setattr(Crashing, "reason", ZeroDivisionError("by nothing"))
  for _ in range(3):
    with pytest.raises(ZeroDivisionError):
      one()
  known = unit_attempts.read(legs)
  assert (known.begun, known.crashes, known.error) == (7, 3, "ZeroDivisionError: by nothing")
  with pytest.raises(UserError, match=r"crashed 3 times .*by nothing\); delete .*attempts\.json"):
    one()
  # An ordinary run tries all the same, and what is finished has no attempts any more.
  with pytest.raises(ZeroDivisionError):
    simulated.driver(folder, Crashing)[0].run(simulated.stages(2))
  assert unit_attempts.read(legs).begun == 8
  monkeypatch.setattr(Crashing, "reason", None)
  simulated.driver(folder, Crashing)[0].run(simulated.stages(2))
  assert joined(folder) == [0, 1] and not list(folder.glob("legs/*/*"))


class Small(simulated.Work):
  """Units of more than two members do not fit."""

  def __call__(self, unit):
    if len(unit.members) > 2:
      raise TooLarge(unit, len(unit.members) // 2, "the device ran out of memory")
    super().__call__(unit)


def test_units_that_do_not_fit_become_smaller_for_good(folder):
  said = []
  driver, work = simulated.driver(folder, Small, most=10, say=said.append)
  driver.run(simulated.stages(10, ("original", "ft")))
  sizes = [len(group.members) for group in driver.record.groups("ft")]
  assert sizes == [2] * 5 and joined(folder) == list(range(10))
  assert said.count("ft: the device ran out of memory; 5 at once") == 1
  assert said.count("ft: the device ran out of memory; 2 at once") == 1
  assert driver.record.size("ft") == 2
  again, work = simulated.driver(folder, Small, most=10)
  again.run(simulated.stages(12, ("original", "ft")))
  assert len(work.done) == 2  # two new members each, and nothing had to be tried again


class Never(simulated.Work):
  def __call__(self, unit):
    raise TooLarge(unit, len(unit.members) // 2, "the device ran out of memory")


def test_not_even_one_model_is_one_line(folder):
  driver, _ = simulated.driver(folder, Never, most=4)
  with pytest.raises(UserError, match=r"original: not even one model fits into memory .*smaller"):
    driver.run(simulated.stages(4))


def test_names_of_stages_must_differ(folder):
  driver, _ = simulated.driver(folder)
  with pytest.raises(UserError, match="a study has two stages 'ft'"):
    driver.run(simulated.stages(2, ("original", "ft", "ft")))


@pytest.mark.parametrize(
  ("count", "size", "missing", "blocks"),
  [
    (10, 64, range(10), [10]),
    (10, 4, range(10), [4, 4, 2]),
    (9, 4, range(9), [3, 3, 3]),
    (10, 4, [1, 2, 8], [2, 1]),
    (3, 1, range(3), [1, 1, 1]),
  ],
)
def test_units_are_blocks_of_the_stage(count, size, missing, blocks):
  stage = next(simulated.stages(count))
  expected = simulated.Identities().add(stage)
  found = units.divide(stage, expected, list(missing), size)
  assert [len(unit.members) for unit in found] == blocks
  assert {unit.room for unit in found} == {max(blocks)}
  assert len({unit.name for unit in found}) == len(found)
  flat = [member.at["seed"] for unit in found for member in unit.members]
  assert flat == list(missing)
  np.testing.assert_array_equal(flat, [e.at["seed"] for u in found for e in u.expected])


def test_members_of_a_unit_share_what_is_static():
  stage = next(simulated.stages(10))
  sizes = [{"batch_size": 64 if k % 3 else 128} for k in range(10)]
  stage = stage._replace(
    members=tuple(m._replace(hp=hp) for m, hp in zip(stage.members, sizes)), room=5
  )
  expected = simulated.Identities().add(stage)
  whole = units.divide(stage, expected, range(10), 4)
  seeds = lambda unit: [member.at["seed"] for member in unit.members]
  assert sorted(map(seeds, whole)) == [[0, 3, 6, 9], [1, 2, 4], [5, 7, 8]]
  for unit in whole:
    assert {member.hp["batch_size"] for member in unit.members} == {dict(unit.kind)["batch_size"]}
  assert {unit.room for unit in whole} == {4}  # what was asked for, as far as units may be so large
  # Whoever asks when some are finished gets the other ones as they were.
  left = units.divide(stage, expected, [k for k in range(10) if k not in (1, 2, 4)], 4)
  assert {unit.name for unit in left} == {unit.name for unit in whole if seeds(unit)[0] != 1}
