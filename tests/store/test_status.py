"""How far a run is, from its files: what is done, in work, silent, failed, and what it took."""

import dataclasses
import json
import time
from contextlib import suppress

import pytest
from support import manifests, records

from jaxmu.errors import Interrupted, StoreError
from jaxmu.store import Run, files, status, unit_attempts
from jaxmu.store.groups import ALIVE, ATTEMPTS, Expected, SignOfLife
from jaxmu.store.record import Record

SECONDS = 3.5  # of a group, by `records.marker`
NOW = 1_000_000.0


def made(
  folder, study="benchmark", platform="gpu", stages=("original", "ft", "ga"), seeds=range(8)
):
  """Return a new run of which nothing is done."""
  found = manifests.manifest(stages, seeds=tuple(seeds))
  found = dataclasses.replace(found, device=dataclasses.replace(found.device, platform=platform))
  run = Run.create(folder, "x", "0", {"study": study, "model": {"name": "cnn"}}, found)
  record = Record(run.path)
  for stage in stages:
    record.expect(stage, records.expected(seeds))
  record.write_expected()
  return run


def finish(run, stage, seeds, devices=2, failure="", of="a", lender=""):
  """Finish a group that keeps nothing."""
  record, name = Record(run.path), "-".join(map(str, seeds))
  marker = records.marker(stage, name, records.expected(seeds, of), failure)
  marker = dataclasses.replace(marker, devices=devices, borrowed_from=lender)
  record.commit(record.attempt(stage, name), marker)


def begin(run, stage, seeds, name="", ago=10.0, ended=None, **sign):
  """Begin a unit so many seconds ago; `sign` are fields of its sign of life."""
  legs = Record(run.path).legs(stage, name or "-".join(map(str, seeds)))
  places = [{"seed": seed} for seed in seeds]
  with suppress(Exception, KeyboardInterrupt), unit_attempts.noted(legs, places):
    if ended is not None:
      raise ended
  known = unit_attempts.read(legs)
  files.write_json(legs / ATTEMPTS, dataclasses.replace(known, time=NOW - ago, host="far"))
  if sign:
    given = {"host": "far", "process": 7, "time": NOW - 1, "phase": "train", "epoch": 1}
    given |= {"epochs": 4, "members": len(seeds), "leg_seconds": 1.0} | sign
    files.write_json(legs / ALIVE, SignOfLife(**given))


def looked(run):
  return status.status(run.path, NOW)


def stage(run, name):
  return next(each for each in looked(run).stages if each.stage == name)


def test_members_are_counted_by_what_became_of_them(tmp_path):
  run = made(tmp_path)
  finish(run, "ft", (0, 1), failure="epoch 2 (steps 5-9)")
  begin(run, "ft", (2,), epoch=2)
  begin(run, "ft", (3,), time=NOW - 500, ago=900)
  begin(run, "ft", (4,), ended=ValueError("no such kernel"))
  begin(run, "ft", (5,), ended=Interrupted(75, "SIGTERM"))
  found = stage(run, "ft")
  assert (found.members, found.done, found.units, found.non_finite) == (8, 2, 1, 2)
  assert (found.running, found.stale, found.failed, found.waiting) == (1, 1, 1, 3)
  units = {unit.unit: unit for unit in looked(run).units}
  assert [units[f"ft/{k}"].state for k in (2, 3, 4, 5)] == ["running", "stale", "failed", "stopped"]
  assert (units["ft/2"].phase, units["ft/2"].epoch, units["ft/2"].seconds_ago) == ("train", 2, 1.0)
  assert (units["ft/4"].error, units["ft/4"].crashes) == ("ValueError: no such kernel", 1)
  assert units["ft/4"].host == "far" and units["ft/4"].attempts == 1
  total = looked(run).total()
  assert (total.members, total.done, total.waiting) == (24, 2, 19)


def test_a_unit_is_silent_after_three_of_its_epochs_or_ten_minutes_before_the_first(tmp_path):
  run = made(tmp_path)
  begin(run, "ft", (0,), time=NOW - 350, leg_seconds=120.0, ago=900)
  begin(run, "ft", (1,), time=NOW - 370, leg_seconds=120.0, ago=900)
  begin(run, "ft", (2,), ago=590)
  begin(run, "ft", (3,), ago=610)
  begin(run, "ft", (4,), ago=30, time=NOW - 999)  # the sign of an attempt before
  assert [unit.state == "stale" for unit in looked(run).units] == [False, True, False, True, False]


def test_time_that_was_spent_and_is_left(tmp_path):
  run = made(tmp_path)
  assert stage(run, "ft").left is None and stage(run, "ft").spent == 0
  finish(run, "ft", (0, 1))
  finish(run, "ft", (2, 3), lender="another run")
  begin(run, "ft", (4, 5), epoch=1)
  found = stage(run, "ft")
  assert found.spent == 2 * SECONDS  # on two devices; what was borrowed was spent elsewhere
  # Four members are left at 3.5 s, as two took 3.5 s on two devices; two have 1 of 4 epochs.
  assert found.left == pytest.approx((4 - 2 / 4) * SECONDS)
  assert looked(run).devices == 2
  total = looked(run).total()
  assert total.left == found.left  # nothing is known of the other stages
  finish(run, "ft", (4, 5, 6, 7))
  assert stage(run, "ft").left == 0 and not stage(run, "ft").running


def test_batches_and_rounds_of_a_method_take_as_long_as_those_before(tmp_path):
  run = made(tmp_path, stages=("ft.1", "ft.2", "ft@1", "ga.1"))
  finish(run, "ft.1", (0, 1, 2, 3))
  left = {each.stage: each.left for each in looked(run).stages}
  each = 2 * SECONDS / 4
  assert left == {"ft.1": 4 * each, "ft.2": 8 * each, "ft@1": 8 * each, "ga.1": None}


def test_what_is_not_of_the_study_does_not_count(tmp_path):
  run = made(tmp_path)
  finish(run, "ft", (0, 1), of="other settings")
  finish(run, "ft", (2, 3))
  begin(run, "ft", (2, 3), name="divided otherwise", ended=ValueError("once"))
  begin(run, "ft", (20,), ended=ValueError("not asked for any more"))
  begin(run, "gone", (0,), ended=ValueError("another method"))
  found = stage(run, "ft")
  assert (found.done, found.units, found.failed, found.spent) == (2, 1, 0, 2 * SECONDS)
  assert looked(run).units == ()


def test_members_that_are_alike_in_everything_are_one(tmp_path):
  run = made(tmp_path)
  record = Record(run.path)
  record.expect("ft", [Expected({"trial": k}, "a0") for k in range(3)])
  record.write_expected()
  assert stage(run, "ft").members == 3 and stage(run, "ft").done == 0
  finish(run, "ft", (0,))
  assert stage(run, "ft").done == 3


def test_signs_of_life_without_attempts_are_enough(tmp_path):
  run = made(tmp_path)
  begin(run, "ft", (0, 1), epoch=2)
  (run.path / "legs" / "ft" / "0-1" / ATTEMPTS).unlink()
  (unit,) = looked(run).units
  assert (unit.state, unit.members, unit.host, unit.attempts) == ("running", 2, "far", 0)


def test_a_run_that_was_only_prepared_and_one_that_is_finished(tmp_path):
  run = made(tmp_path)
  assert not looked(run).finished
  with run.writing_results():
    run.write_rows([{"method": "ft", "seed": 0}])
  assert looked(run).finished
  (run.path / "members.json").unlink()
  assert looked(run).stages == ()
  finish(run, "ft", (0, 1))
  with pytest.raises(StoreError, match=r"members\.json does not exist; run the same command again"):
    looked(run)


@pytest.mark.parametrize("content", ["{", "[]", '{"cost": 3, "members": []}', '{"cost": {}}'])
def test_a_marker_that_is_none_is_one_line(content, tmp_path):
  run = made(tmp_path)
  finish(run, "ft", (0, 1))
  (run.path / "stages" / "ft" / "0-1" / "marker.json").write_text(content)
  with pytest.raises(StoreError, match=r"marker\.json is damaged .*--repair"):
    looked(run)


def test_members_that_are_none_are_one_line(tmp_path):
  run = made(tmp_path)
  for content in ("[]", '{"ft": [3]}', '{"ft": [{"at": {}}]}'):
    (run.path / "members.json").write_text(content)
    with pytest.raises(StoreError, match=r"members\.json is damaged"):
      looked(run)


def test_runs_in_a_folder(tmp_path):
  runs = [made(tmp_path / "both", seeds=(0,)).path]
  (tmp_path / "both" / "report").mkdir()
  assert status.runs_in(runs[0]) == status.runs_in(tmp_path / "both") == runs
  for path in (tmp_path, tmp_path / "nowhere"):
    with pytest.raises(StoreError, match=r"is neither a run .* nor a folder that holds some"):
      status.runs_in(path)


def test_every_file_is_read_once(tmp_path, monkeypatch):
  run = made(tmp_path, seeds=range(12))
  for seed in range(12):
    finish(run, "ft", (seed,))
  begin(run, "ga", (0,), epoch=1)
  read, real = [], files.read_json
  monkeypatch.setattr(files, "read_json", lambda path: (read.append(path), real(path))[1])
  monkeypatch.setattr(files, "read_sealed", lambda path: pytest.fail(f"{path} was hashed"))
  assert stage(run, "ft").done == 12
  assert len(read) == len(set(read)) == 12 + 3 + 2  # markers, those of the run, those of the unit


def test_the_present_is_now(tmp_path):
  run = made(tmp_path)
  begin(run, "ft", (0,))
  (unit,) = status.status(run.path).units
  assert unit.state == "stale" and unit.seconds_ago > time.time() - NOW - 60
  json.dumps(dataclasses.asdict(status.status(run.path)))
