"""A task that cannot work one of its units works the others, and says what is in the way."""

import pytest
from support import stub_task, sweeps

from jaxmu.errors import Busy, NeedMissing, UserError
from jaxmu.stopping import Stop
from jaxmu.store import attempts
from jaxmu.store.record import Record
from jaxmu.store.run import directory
from jaxmu.studies.driver import Driver
from jaxmu.studies.study import unknown


@pytest.fixture
def work(tmp_path, monkeypatch):
  """Work chosen members of stubs, a unit for each: stage -> seeds; fails those told to."""
  monkeypatch.setattr(stub_task, "EPOCHS", 1)
  words = ("--config.population.members_at_once=1", "--config.seeds=0..2")
  settings = sweeps.settings(*sweeps.arguments(tmp_path, *words, methods="ft"))
  stub_task.prepare(settings)
  record = Record(directory(tmp_path, settings.name, settings.hash8))

  def driver():
    worker = lambda unit: stub_task.work_unit(unit, record, Stop())
    known = stub_task.identities(settings)
    return Driver(record, known, worker, most=1, say=lambda line: None)

  def call(fails=(), **seeds):
    monkeypatch.setattr(stub_task, "FAILS", fails)
    own = lambda stage: [k for k in range(3) if k in seeds.get(stage.name, ())]
    driver().run_chosen(stub_task.stages(settings), own, tuple(seeds), 0.0)

  def unit(name, seed):
    made = driver()
    made.add_all(stub_task.stages(settings), unknown)
    (stage,) = (stage for stage in made.stages if stage.name == name)
    (found,) = (u.name for u in made.units(stage) if u.members[0].at["seed"] == seed)
    return found

  call.record, call.unit = record, unit
  call.done = lambda stage: [m.at["seed"] for g in record.groups(stage) for m in g.members]
  return call


def test_a_missing_need_stops_no_other_unit(work):
  work(original=(0, 2))
  with pytest.raises(NeedMissing, match="starts from models of stage 'original'") as caught:
    work(ft=(0, 1, 2))
  assert caught.value.exit_code == 69
  assert work.done("ft") == [0, 2] and work.done("retrained") == []


def test_a_unit_that_fails_stops_no_other_one(work):
  with pytest.raises(UserError, match="told to fail"):
    work(fails=["retrained/1"], retrained=(0, 1, 2))
  assert work.done("retrained") == [0, 2]


def test_who_may_come_again_is_told_to(work):
  """Also where another unit is beyond help: trying again finishes the one that is held."""
  work(original=(1, 2))
  with attempts.lock(work.record.legs("ft", work.unit("ft", 1)) / ".lock") as mine:
    assert mine
    with pytest.raises(Busy, match="another process works on ft/1-") as caught:
      work(ft=(0, 1, 2))
  assert caught.value.exit_code == 75 and work.done("ft") == [2]
  with pytest.raises(NeedMissing):
    work(ft=(0, 1, 2))
  assert work.done("ft") == [1, 2]


def test_a_task_leaves_what_is_not_its_own(work):
  work(original=(1,))
  assert work.done("original") == [1] and work.done("retrained") == work.done("ft") == []
