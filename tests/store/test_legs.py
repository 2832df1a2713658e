"""Legs of an unfinished group: saved now and then, back as they were, refused where torn."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.execution.observations import Leg, Snapshot
from jaxmu.store import checkpoint, files, legs, typed_json
from jaxmu.store.groups import ALIVE, CurveRow, LegRecord, SignOfLife
from jaxmu.store.legs import LegNumber, Legs, curve_rows
from jaxmu.training import EpochMetrics

ROW = CurveRow(0, "train", 1, 16, 2.25, 0.5, 0.1)


def snapshot(phase=1, epoch=0, value=1.0):
  return Snapshot(
    phase=phase,
    epoch=epoch,
    seconds=1.5,
    failures=("", "train: epoch 1 (steps 0-1)"),
    variables={"params": {"kernel": np.full((2, 3), value, np.float32)}, "batch_stats": {}},
    failed_at=np.array([-1, 0], np.int32),
    optimizers={"0": np.zeros((2, 3), np.float32)},
    targets=(0, 1),
  )


def leg(epoch=0, phase=0, epochs=99, replay=False, value=1.0):
  """Return a leg of two members; the second one rests in its last step."""
  loss = np.array([[1.0, 2.0, 6.0], [1.0, 3.0, np.nan]])
  rate = np.where(np.isnan(loss), np.nan, 0.1)
  metrics = EpochMetrics(loss, loss / 10, rate)
  take = lambda: snapshot(phase, epoch, value)
  return Leg("train", phase, epoch, epochs, 3, metrics, 600, 0.5, take, replay)


RECORD = files.plain(LegRecord(**snapshot().rest(), identity="a", curves=(ROW,)))


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "legs" / "ft" / "0-1-ab"


def saved(folder):
  return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_a_leg_comes_back_with_its_curves(folder):
  written = Legs(folder, "a", every=0)
  written.take(leg(2, phase=1, value=0.1))
  again = Legs(folder, "a", every=0)
  found, wanted = again.resume(), snapshot(1, 2, 0.1)
  assert found.rest() == wanted.rest()
  jax.tree.map(np.testing.assert_array_equal, found.arrays(), wanted.arrays())
  assert again.curves == written.curves == list(curve_rows(leg(2)))


def test_there_is_nothing_to_resume_before_a_leg_or_of_other_members(folder):
  assert Legs(folder, "a", every=0).resume() is None
  Legs(folder, "a", every=0).take(leg())
  other = Legs(folder, "b", every=0)
  assert other.resume() is None and other.curves == []


def test_legs_are_saved_now_and_then(folder):
  seldom = Legs(folder, "a", every=3600)
  seldom.take(leg(0))
  assert saved(folder) == []
  seldom.saved_at -= 3601
  seldom.take(leg(1))
  seldom.take(leg(2))
  assert saved(folder) == ["0-1"]
  assert [row.epoch for row in Legs(folder, "a", 0).curves] == []
  again = Legs(folder, "a", 0)
  again.resume()
  assert [(row.epoch, row.member) for row in again.curves] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_the_last_leg_of_a_phase_is_saved_only_by_a_process_that_is_to_stop(folder):
  written = Legs(folder, "a", every=0)
  written.take(leg(1, epochs=2))
  assert saved(folder) == []
  Legs(folder, "a", every=3600).take(leg(1, epochs=2), stopping=True)
  assert saved(folder) == ["0-1"]


def test_epochs_that_are_run_again_leave_no_rows(folder):
  written = Legs(folder, "a", every=0)
  written.take(leg(0))
  written.take(leg(0, phase=1, replay=True))
  assert written.curves == list(curve_rows(leg(0)))
  assert saved(folder) == ["1-0"]  # but are resumed


def test_only_the_newest_leg_is_kept_and_a_finished_group_has_none(folder):
  written = Legs(folder, "a", every=0)
  for number in (0, 1, 9, 10):
    written.take(leg(number))
    assert saved(folder) == [f"0-{number}"]
  Legs(folder.with_name("2-3-cd"), "b", every=0).take(leg(3))
  written.clear()
  assert not folder.exists() and saved(folder.with_name("2-3-cd")) == ["0-3"]


@pytest.mark.parametrize("newest", [(0, 10), (1, 0), (2, 1)])
def test_legs_are_ordered_by_phase_and_epoch(folder, newest, monkeypatch):
  """As a kill between writing and removing leaves them: the newest is found."""
  monkeypatch.setattr(checkpoint, "remove", lambda path: None)
  for phase, epoch in ((0, 9), newest, (0, 3)):
    Legs(folder, "a", every=0).take(leg(epoch, phase))
  assert len(saved(folder)) == 3
  found = Legs(folder, "a", every=0).resume()
  assert LegNumber(found.phase, found.epoch) == newest


def test_an_unfinished_leg_is_not_seen(folder):
  Legs(folder, "a", every=0).take(leg(1))
  shutil.copytree(folder / "0-1", folder / "0-2")
  (folder / "0-2" / checkpoint.METADATA).unlink()
  assert Legs(folder, "a", every=0).resume().epoch == 1


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"identity": None}, "'identity' is null, expected text"),
    ({"epoch": "0"}, "'epoch' is text, expected a whole number"),
    ({"curves": [{}]}, "'curves.0.member' is missing"),
    ({"failures": 0}, "'failures' is a whole number, expected a list"),
  ],
)
def test_metadata_of_another_form_is_one_line(folder, change, message):
  checkpoint.save(folder / "1-0", snapshot().arrays(), RECORD | change)
  with pytest.raises(StoreError) as error:
    Legs(folder, "a", every=0).resume()
  path, advice = folder / "1-0" / "metadata.json", "delete it and run the same command again"
  assert str(error.value) == f"{path} is damaged ({message}); {advice}"


@pytest.mark.parametrize("name", RECORD)
def test_a_leg_without_a_part_of_its_metadata_is_refused(folder, name):
  torn = {key: value for key, value in RECORD.items() if key != name}
  checkpoint.save(folder / "1-0", snapshot().arrays(), torn)
  with pytest.raises(StoreError, match=rf"\('{name}' is missing\)"):
    Legs(folder, "a", every=0).resume()


def test_a_damaged_leg_is_one_line_and_goes_on_once_it_is_deleted(folder):
  Legs(folder, "a", every=0).take(leg(1))
  largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(content)
  with pytest.raises(CheckpointError, match=r"0-1 is damaged .*; delete it and run") as error:
    Legs(folder, "a", every=0).resume()
  assert "\n" not in str(error.value)
  shutil.rmtree(folder / "0-1")
  assert Legs(folder, "a", every=0).resume() is None


def test_curves_average_steps_and_leave_resting_members_out():
  first, second = curve_rows(leg())
  assert first == CurveRow(0, "train", 1, 3, 3.0, pytest.approx(0.3), 0.1)
  assert second == CurveRow(1, "train", 1, 2, 2.0, pytest.approx(0.2), 0.1)
  nothing = EpochMetrics(*(np.full((2, 3), np.nan) for _ in range(3)))
  assert list(curve_rows(leg()._replace(metrics=nothing))) == []


def test_a_sign_of_life_says_who_works_and_how_far(folder):
  before = time.time()
  Legs(folder, "a", every=3600).take(leg(4, epochs=9))
  sign = typed_json.load(SignOfLife, folder / ALIVE)
  assert (sign.host, sign.process) == (socket.gethostname(), os.getpid())
  assert before <= sign.time <= time.time()
  assert (sign.phase, sign.epoch, sign.epochs, sign.members) == ("train", 5, 9, 2)
  assert sign.leg_seconds == 0.5


def test_signs_of_life_come_now_and_then(folder):
  written = Legs(folder, "a", every=3600)
  written.take(leg(0))
  written.take(leg(1))
  assert json.loads((folder / ALIVE).read_text())["epoch"] == 1
  written.said_at -= legs.SIGN_SECONDS
  written.take(leg(2))
  assert json.loads((folder / ALIVE).read_text())["epoch"] == 3


WRITER = """
import sys
from pathlib import Path
import numpy as np
from jaxmu.execution.observations import Leg, Snapshot
from jaxmu.store.legs import Legs
from jaxmu.training import EpochMetrics
legs = Legs(Path(sys.argv[1]), "a", every=0)
metrics = EpochMetrics(*(np.ones((3, 1)) for _ in range(3)))
for k in range(10**9):
  variables = {"params": {"a": np.full((3, 70_000), k), "b": np.full((3, 5), k)}}
  take = lambda: Snapshot(0, k, 1.0, ("",) * 3, variables, np.full(3, k), {})
  legs.take(Leg("train", 0, k, 10**9, 1, metrics, 1, 1.0, take))
  print(k, flush=True)
"""


def test_kill_at_any_moment_leaves_a_loadable_leg(folder):
  command = [sys.executable, "-c", WRITER, str(folder)]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    first = process.stdout.readline()
    time.sleep(0.2 * random.random())
    process.send_signal(signal.SIGKILL)
    done = max(map(int, [first, *process.stdout.read().split()]))
  again = Legs(folder, "a", every=0)
  found = again.resume()
  assert found.epoch in (done, done + 1)
  assert all((leaf == found.epoch).all() for leaf in jax.tree.leaves(found.arrays()))
  epochs = list(range(1, found.epoch + 2))
  assert [row.epoch for row in again.curves if row.member == 0] == epochs
