"""The run directory: atomic files, deterministic tables, identity, and SIGKILL at any moment."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from support import manifests

from jaxmu.errors import StoreError
from jaxmu.store import Run, files
from jaxmu.store.records import CurveRow, StageRecord, StageTiming

COLUMNS = ("method", "seed", "finite", "failed_steps", "RA", "FA", "TA")
CONFIG = {"name": "cnn_digits", "seeds": (0, 1), "output_dir": "a"}
MANIFEST = manifests.manifest(seeds=(0, 1))
ROWS = [
  {"seed": 1, "method": "ft", "finite": True, "failed_steps": "", "RA": 0.5, "extra": 1.5},
  {"seed": np.int64(2), "method": "ga", "finite": np.False_, "failed_steps": "epoch 3", "RA": None},
]


@pytest.fixture
def run(tmp_path):
  return Run.create(tmp_path, "cnn_digits", "0123abcd", CONFIG, MANIFEST, identity={"lr": 0.1})


def test_create_then_open(run, tmp_path):
  assert run.path == tmp_path / "cnn_digits-0123abcd"
  found = Run.open(run.path)
  assert found.config == {"name": "cnn_digits", "seeds": [0, 1], "output_dir": "a"} == run.config
  assert found.manifest == MANIFEST


def test_reopening_keeps_the_manifest_and_takes_the_config(run, tmp_path):
  again = Run.create(
    tmp_path,
    "cnn_digits",
    "0123abcd",
    CONFIG | {"output_dir": "b"},
    manifests.manifest(versions={"jax": "0.11"}),
    identity={"lr": 0.1},
  )
  assert again.manifest == MANIFEST == Run.open(run.path).manifest
  assert Run.open(run.path).config["output_dir"] == "b"


def test_a_manifest_of_another_form_is_refused_and_made_again_once_it_is_deleted(run, tmp_path):
  again = lambda: Run.create(tmp_path, "cnn_digits", "0123abcd", CONFIG, MANIFEST)
  (run.path / "manifest.json").write_text("[]")
  for door in (again, lambda: Run.open(run.path)):
    with pytest.raises(StoreError, match=r"manifest\.json is damaged \(it is a list, .*delete it"):
      door()
  (run.path / "manifest.json").unlink()
  with pytest.raises(StoreError, match=r"manifest\.json does not exist; run the same command"):
    Run.open(run.path)
  assert again().manifest == MANIFEST == Run.open(run.path).manifest


def test_another_identity_is_refused_and_nothing_changes(run, tmp_path):
  before = (run.path / "config.json").read_bytes()
  with pytest.raises(StoreError, match=r"another experiment: its lr is 0\.1, not 0\.2"):
    Run.create(tmp_path, "cnn_digits", "0123abcd", CONFIG, MANIFEST, identity={"lr": 0.2})
  assert (run.path / "config.json").read_bytes() == before


def test_another_hash_is_refused(run, tmp_path):
  run.path.rename(tmp_path / "cnn_digits-ffffffff")
  with pytest.raises(StoreError, match="its hash is '0123abcd', not 'ffffffff'"):
    Run.create(tmp_path, "cnn_digits", "ffffffff", CONFIG, MANIFEST)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(
    StoreError, match=r"cannot make the run directory .*: Not a directory"
  ) as error:
    Run.create(tmp_path / "file", "x", "0", CONFIG, MANIFEST)
  assert "\n" not in str(error.value) and "--config.output_dir" in str(error.value)
  with pytest.raises(StoreError, match=r"cannot write .*: File exists"):
    files.write_json(tmp_path / "file" / "x.json", {})


def test_open_refuses_what_is_not_a_run(tmp_path, run):
  with pytest.raises(StoreError, match="is not a run directory"):
    Run.open(tmp_path)
  (run.path / "config.json").write_text("[1]")
  with pytest.raises(StoreError, match=r"config\.json is damaged \(it is a list, expected an obj"):
    Run.open(run.path)
  (run.path / "config.json").write_text('{"conf')
  with pytest.raises(StoreError, match=r"config\.json is damaged"):
    Run.open(run.path)


def marker(stage, **changes):
  row = CurveRow(stage, "train", 0, 1, 16, 2.25, 0.5, 0.1)
  made = StageRecord(stage, "ab" * 32, 3.0, ("", ""), (row,), StageTiming(1.5, 0.5, 0.25, 16))
  return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ([], "it is a list, expected an object"),
    ({}, "'stage' is missing"),
    ({"stage": "ga"}, "it is the marker of stage 'ga'"),
    ({"failures": [""]}, "'failures' lists 1 members, the run has 2"),
    ({"curves": [1]}, "'curves.0' is a whole number, expected an object"),
    ({"timing": None}, "'timing' is null, expected an object"),
  ],
)
def test_a_marker_of_another_form_is_one_line(run, change, message):
  run.mark(marker("ft"))
  stored = run.read_json("stages/ft.json")
  run.write_json("stages/ft.json", stored | change if change else change)
  with pytest.raises(StoreError) as error:
    run.marker("ft")
  advice = "delete it and run the same command again"
  assert str(error.value) == f"{run.path}/stages/ft.json is damaged ({message}); {advice}"


def test_markers(run):
  assert not run.done("ft") and run.stages() == []
  made = marker("ft", passes=np.float64(3), failures=("", "epoch 2"))
  run.mark(made)
  run.mark(marker("ct", borrowed_from="cnn_digits-ffffffff"))
  assert run.done("ft") and run.stages() == ["ct", "ft"]
  assert run.marker("ft") == made and run.marker("ct").borrowed_from == "cnn_digits-ffffffff"
  assert list(run.read_json("stages/ft.json")) == [
    *("stage", "identity", "passes", "failures", "curves", "timing")
  ]
  run.unmark("ft")
  assert not run.done("ft")
  with pytest.raises(StoreError, match=r"ft\.json does not exist"):
    run.marker("ft")


def test_arrays_are_memory_mapped_and_exact(run):
  logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
  run.write_array("logits/ft", logits)
  found = run.array("logits/ft")
  assert isinstance(found, np.memmap) and found.dtype == np.float32
  np.testing.assert_array_equal(found, logits)
  assert not isinstance(run.array("logits/ft.npy", mmap=False), np.memmap)
  run.write_array("logits/ft", logits + 1)  # while the old one is mapped
  np.testing.assert_array_equal(found, logits)


@pytest.mark.parametrize("name", ["logits/ft.npy", "rows.parquet"])
def test_damaged_files_are_one_line(run, name):
  run.write_array("logits/ft", np.ones((10, 10)))
  run.write_rows(ROWS)
  path = run.path / name
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(StoreError, match=r"is damaged .*; delete it") as error:
    run.array("logits/ft") if name.startswith("logits") else run.rows()
  assert "\n" not in str(error.value)
  path.unlink()
  with pytest.raises(StoreError, match="does not exist; run the same command again"):
    run.array("logits/ft") if name.startswith("logits") else run.rows()


def test_nothing_is_unpickled(run):
  np.save(run.path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
  with pytest.raises(StoreError, match="is damaged"):
    run.array("evil", mmap=False)


def test_rows_keep_types_and_order(run):
  run.write_rows(ROWS, COLUMNS)
  found = run.rows()
  assert list(found.columns) == ["method", "seed", "finite", "failed_steps", "RA", "extra"]
  assert found["seed"].dtype == np.int64 and found["finite"].dtype == bool
  assert found["RA"].dtype == found["extra"].dtype == np.float64
  assert list(found["failed_steps"]) == ["", "epoch 3"]
  assert np.isnan(found["RA"][1]) and np.isnan(found["extra"][1])


def test_equal_rows_give_equal_bytes(run):
  every = [dict.fromkeys(COLUMNS[4:], 0.25) | row for row in ROWS]
  run.write_rows(every, COLUMNS)
  first = (run.path / "rows.parquet").read_bytes()
  run.write_rows([dict(reversed(row.items())) for row in every], COLUMNS)
  assert (run.path / "rows.parquet").read_bytes() == first
  run.write_rows([every[0], every[1] | {"FA": np.nextafter(0.25, 1)}], COLUMNS)
  assert (run.path / "rows.parquet").read_bytes() != first
  assert list(run.rows().columns) == [*COLUMNS, "extra"]


def test_tables_by_name(run):
  curves = [{"stage": "ft", "epoch": e, "loss": 0.5 / (e + 1)} for e in range(3)]
  run.write_table("curves", curves)
  pd.testing.assert_frame_equal(run.table("curves"), pd.DataFrame(curves), check_dtype=False)


def test_what_cannot_be_stored_is_named(run):
  with pytest.raises(TypeError, match="cannot store a set"):
    run.write_json("x.json", {"a": {1}})
  assert not (run.path / "x.json").exists()


def test_log_survives_a_torn_line(run):
  run.log({"event": "start", "stage": "ft", "n": np.int32(3)})
  with (run.path / "log.jsonl").open("a") as file:
    file.write('{"event": "to')
  run.log({"event": "resume"})
  assert [(e["event"], "time" in e) for e in run.events()] == [("start", True), ("resume", True)]
  assert Run(run.path / "nowhere", {}, MANIFEST).events() == []


def test_one_writer_at_a_time(run):
  with run.lock(), pytest.raises(StoreError, match="another process is writing to"), run.lock():
    pass
  with run.lock():
    pass


WRITER = """
import sys, numpy as np
from jaxmu.store import Run
from jaxmu.store.records import StageRecord, StageTiming
k = int(sys.argv[2])
run = Run.open(sys.argv[1])
while True:
  print(k, flush=True)
  run.write_array("logits/ft", np.full(20000, k))
  run.write_rows([{"method": "ft", "seed": s, "RA": float(k)} for s in range(200)])
  run.log({"event": "leg", "k": k})
  run.mark(StageRecord(f"stage{k}", "", k, ("", ""), (), StageTiming(0.0, 0.0, 0.0, k)))
  k += 1
"""


def test_kill_at_any_moment_leaves_a_consistent_run(tmp_path):
  k, path = 0, Run.create(tmp_path, "x", "0", {}, MANIFEST).path
  for _ in range(5):
    command = [sys.executable, "-c", WRITER, str(path), str(k)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
      first = [process.stdout.readline() for _ in range(2)]  # one whole round is done
      time.sleep(0.1 * random.random())
      process.send_signal(signal.SIGKILL)
      started = [int(line) for line in (*first, *process.stdout.read().split())]
    run = Run.open(path)
    marked = [run.marker(stage).timing.steps for stage in run.stages()]
    last = max(marked)
    assert sorted(marked) == list(range(last + 1))
    assert max(started) in (last, last + 1)
    # What was marked is there; what was under way is whole, old or new.
    values, rows = run.array("logits/ft"), run.rows()
    assert len(set(values.tolist())) == 1 and values[0] in (last, last + 1)
    assert len(rows) == 200 and rows["RA"].nunique() == 1 and rows["RA"][0] in (last, last + 1)
    assert {event["k"] for event in run.events()} >= set(marked)
    k = last + 1


def test_json_files_are_readable_by_others(run):
  assert json.loads((run.path / "manifest.json").read_text()) == files.plain(MANIFEST)
