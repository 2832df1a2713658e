"""A simulated study of many units: each is worked once, by however many processes there are."""

import os
import runpy
from pathlib import Path

import pytest
from support import races, sweeps

from jaxmu.errors import StoreError
from jaxmu.store import checkpoint
from jaxmu.store.record import Record

STAGES = 3


@pytest.fixture(scope="module")
def bench():
  return runpy.run_path(str(sweeps.ROOT / "bench" / "many_units.py"))


def worked(folder: Path) -> int:
  lines = (folder / "log.jsonl").read_text().splitlines() if folder.is_dir() else []
  return sum(line.startswith("done") for line in lines)


def leftovers(folder: Path) -> list[Path]:
  return [path for path in folder.rglob(".*") if path.name != ".lock"]


def test_three_processes_work_each_unit_once(bench, tmp_path):
  seconds = bench["measure"](200, 3, tmp_path / "run")
  assert worked(tmp_path / "run") == 201
  assert set(seconds) == {"planned", "worked", "rows read", "logits read"}
  assert not leftovers(tmp_path / "run")


def test_a_unit_is_forced_to_disk_once(bench, tmp_path, monkeypatch):
  synced, sync = [], os.fsync
  named = lambda number: Path(os.readlink(f"/proc/self/fd/{number}"))
  monkeypatch.setattr(os, "fsync", lambda number: synced.append(named(number)) or sync(number))
  (tmp_path / "run").mkdir()
  bench["drive"](3, tmp_path / "run")
  inside = [path for path in synced if "original" in path.parts]
  assert sorted(path.name for path in inside if path.is_relative_to(inside[0].parent))[-2:] == [
    "logits.npy",
    "marker.json",
  ]
  assert len(inside) == 4  # two files, their folder, and the one above


def test_folders_of_all_units_are_not_read_for_each(bench, tmp_path, monkeypatch):
  looks, groups = [], Record.groups
  monkeypatch.setattr(Record, "groups", lambda self, stage: looks.append(1) or groups(self, stage))
  (tmp_path / "run").mkdir()
  bench["drive"](90, tmp_path / "run")
  assert worked(tmp_path / "run") == 90 and len(looks) < 30


def test_a_damaged_neighbour_lends_nothing_and_leaves_nothing(bench, tmp_path):
  for name in ("a", "b", "c"):
    (tmp_path / name).mkdir()
  bench["drive"](6, tmp_path / "a")
  bench["drive"](6, tmp_path / "b")
  assert worked(tmp_path / "a") == 6 and worked(tmp_path / "b") == 0
  for array in tmp_path.glob("?/stages/*/*/logits.npy"):
    array.write_bytes(array.read_bytes()[:-1])
  bench["drive"](6, tmp_path / "c")
  assert worked(tmp_path / "c") == 6 and not leftovers(tmp_path / "c")
  bench["check"](6, tmp_path / "c")


def test_what_another_process_finished_and_cleared_is_no_failure(bench, tmp_path, monkeypatch):
  """Without locks two processes may work a unit; the first one clears what the second writes."""
  work = bench["worker"]

  def second(record, pause):
    def late(unit):
      work(record, pause)(unit)
      raise StoreError("cannot write a leg: No such file or directory")

    return late

  monkeypatch.setitem(bench["drive"].__globals__, "worker", second)
  (tmp_path / "run").mkdir()
  bench["drive"](3, tmp_path / "run")
  assert worked(tmp_path / "run") == 3


def test_what_a_kill_left_of_finished_units_goes(bench, tmp_path):
  folder, record = tmp_path / "run", Record(tmp_path / "run")
  folder.mkdir()
  bench["drive"](3, folder)
  (unit,) = record.groups("ft")
  unit_folder = record.folder("ft", unit.group)
  leg = record.legs("ft", unit.group) / "0-1"
  checkpoint.save(leg, {"x": 1.0}, {})
  races.dead_attempt(unit_folder)
  bench["drive"](3, folder)
  assert not leg.exists() and not leftovers(folder) and not list(folder.glob("legs/*/*"))
