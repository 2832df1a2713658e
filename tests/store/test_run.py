"""The run directory: sealed beginnings, results that are verified, growth, races and kills."""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from support import manifests, races

from jaxmu.errors import SettingsError, StoreError
from jaxmu.store import Run, files
from jaxmu.store.groups import Cost
from jaxmu.store.manifest import DatasetOrigin, SplitOrigin
from jaxmu.store.run import directory

COLUMNS = ("method", "seed", "finite", "failed_steps", "RA", "FA", "TA")
CONFIG = {"name": "cnn_digits", "seeds": (0, 1), "output_dir": "a"}
MANIFEST = manifests.manifest(seeds=(0, 1))
ROWS = [
  {"seed": 1, "method": "ft", "finite": True, "failed_steps": "", "RA": 0.5, "extra": 1.5},
  {"seed": np.int64(2), "method": "ga", "finite": np.False_, "failed_steps": "epoch 3", "RA": None},
]


def create(root, config=CONFIG, manifest=MANIFEST, identity=None):
  return Run.create(
    root, "cnn_digits", "0123abcd", config, manifest, identity=identity or {"lr": 0.1}
  )


@pytest.fixture
def run(tmp_path):
  return create(tmp_path)


def write(run, value=0.5):
  """Write one result of each kind."""
  with run.writing_results():
    run.write_rows([{"method": "ft", "seed": s, "RA": value} for s in range(20)], COLUMNS)
    run.write_table("curves", [{"stage": "ft", "epoch": e, "loss": value} for e in range(3)])
    run.write_json("timings.json", {"ft": Cost(wall_s=value)})
    run.write_array("exposed", np.full((2, 3), value))


READERS = {
  "rows.parquet": lambda run: run.rows(),
  "curves.parquet": lambda run: run.table("curves"),
  "timings.json": lambda run: run.record(dict[str, Cost], "timings.json"),
  "exposed.npy": lambda run: run.array("exposed"),
}


def test_create_then_open(run, tmp_path):
  assert run.path == tmp_path / "cnn_digits-0123abcd"
  found = Run.open(run.path)
  assert found.config == {"name": "cnn_digits", "seeds": [0, 1], "output_dir": "a"} == run.config
  assert found.manifest == MANIFEST


def test_reopening_keeps_what_it_was_made_with_and_takes_the_config(run, tmp_path):
  other = manifests.manifest(seeds=(0, 1), versions={"jax": "0.11"}, chunk=4, date="2030-01-01")
  again = create(tmp_path, CONFIG | {"output_dir": "b"}, other)
  assert again.manifest == MANIFEST == Run.open(run.path).manifest
  assert Run.open(run.path).config["output_dir"] == "b"


@pytest.mark.parametrize(
  "changes",
  [
    {"seeds": (0, 1, 2)},
    {"split": SplitOrigin("cd" * 32, manifests.SIZES, per_seed=True)},
    {"methods": manifests.manifest(("original", "retrained", "ft", "msg")).methods},
  ],
  ids=["seeds", "split", "methods"],
)
def test_the_manifest_grows_with_what_is_asked_for(run, tmp_path, changes):
  asked = changes | {"command": "python bin/sweep.py --more", "chunk": 4, "commit": "other"}
  again = create(tmp_path, manifest=manifests.manifest(**{"seeds": (0, 1)} | asked))
  (name,) = changes
  assert getattr(again.manifest, name) == changes[name]
  assert again.manifest.command == "python bin/sweep.py --more"
  assert (again.manifest.chunk, again.manifest.commit) == (MANIFEST.chunk, MANIFEST.commit)
  assert Run.open(run.path).manifest == again.manifest


def test_methods_that_a_study_came_to_later_are_described(run):
  methods = manifests.manifest(("original", "retrained", "ft", "msg")).methods
  run.grow(methods)
  assert Run.open(run.path).manifest.methods == methods
  before = (run.path / "manifest.json").stat().st_mtime_ns
  run.grow(methods)
  assert (run.path / "manifest.json").stat().st_mtime_ns == before


def test_other_data_are_refused_and_nothing_changes(run, tmp_path):
  before = (run.path / "manifest.json").read_bytes()
  data = DatasetOrigin("cifar10", "ef" * 32, 50000, 10, (32, 32, 3), {"total": 60000})
  with pytest.raises(StoreError, match=r"was made with another dataset \(sha256 abab.*, now efef"):
    create(tmp_path, manifest=manifests.manifest(seeds=(0, 1, 2), dataset=data))
  assert (run.path / "manifest.json").read_bytes() == before


def test_a_run_that_does_not_know_how_its_data_were_read_goes_on(run, tmp_path):
  """It began with a version that did not keep it."""
  data = dataclasses.replace(run.manifest.dataset, transform="mean 0.5")
  found = create(tmp_path, manifest=manifests.manifest(seeds=(0, 1, 2), dataset=data))
  assert found.manifest.dataset.transform == ""


def test_another_identity_is_refused_and_nothing_changes(run, tmp_path):
  before = (run.path / "config.json").read_bytes()
  with pytest.raises(StoreError, match=r"another experiment: its lr is 0\.1, not 0\.2"):
    create(tmp_path, identity={"lr": 0.2})
  assert (run.path / "config.json").read_bytes() == before


def test_another_hash_is_refused(run, tmp_path):
  run.path.rename(tmp_path / "cnn_digits-ffffffff")
  with pytest.raises(StoreError, match="its hash is '0123abcd', not 'ffffffff'"):
    Run.create(tmp_path, "cnn_digits", "ffffffff", CONFIG, MANIFEST)


def damages(path):
  """Yield names of damages with what the file then holds; None: nothing, it is gone."""
  content = path.read_bytes()
  flipped = bytearray(content)
  flipped[len(content) // 2] ^= 1
  yield from (("truncated", content[:-5]), ("flipped", bytes(flipped)), ("emptied", b""))
  yield from (("a list", b"[]"), ("an object", b"{}"), ("gone", None))


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_what_a_run_begins_with_is_sealed_and_the_advice_works(run, tmp_path, name):
  path = run.path / name
  whole = path.read_bytes()
  for damage, content in damages(path):
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StoreError) as error:
      Run.open(run.path)
    assert "\n" not in str(error.value) and str(run.path) in str(error.value), damage
    if content is not None:
      assert "does not have its SHA-256" in str(error.value), damage
      with pytest.raises(StoreError, match=r"is damaged .*delete it and run the same command"):
        create(tmp_path)
      path.unlink()
    assert create(tmp_path).manifest == MANIFEST  # the same command
    assert path.read_bytes() == whole


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(SettingsError, match=r"config\.output_dir is .*, but .*/file is a file"):
    create(tmp_path / "file")
  with pytest.raises(SettingsError, match=r"cannot be read: File name too long; give another"):
    directory(tmp_path / ("a" * 300), "x", "0")


def test_open_refuses_what_is_not_a_run(tmp_path):
  with pytest.raises(StoreError, match=r"is not a run directory \(it has no config\.json\)"):
    Run.open(tmp_path)


@pytest.mark.parametrize(
  ("processes", "runs"), [(4, 8), pytest.param(8, 15, marks=pytest.mark.slow)]
)
def test_processes_that_start_one_new_run_at_once_all_get_it(tmp_path, processes, runs):
  found = races.run(processes, runs, races.create, tmp_path)
  assert len(found) == processes
  for k in range(runs):
    opened = Run.open(tmp_path / f"x{k}-0")
    assert {each[k] for each in found.values()} == {opened.manifest.date}
    assert sorted(p.name for p in opened.path.iterdir()) == ["config.json", "manifest.json"]


def test_results_come_back_and_are_listed(run):
  write(run)
  found = Run.open(run.path)
  assert found.has("rows.parquet") and not found.has("intervals.parquet")
  assert found.rows()["RA"].tolist() == [0.5] * 20 and len(found.table("curves")) == 3
  assert found.record(dict[str, Cost], "timings.json") == {"ft": Cost(wall_s=0.5)}
  np.testing.assert_array_equal(found.array("exposed"), np.full((2, 3), 0.5))
  listed = files.read_sealed(run.path / "results.json")
  assert listed.keys() == {*READERS, "config.json", "manifest.json"}
  assert listed == {
    name: list(entry) for name, entry in files.digests(run.path).items() if name in listed
  }


def test_a_run_without_results_says_so(run):
  for read in (*READERS.values(), lambda run: run.has("rows.parquet")):
    with pytest.raises(StoreError, match="has no results yet; run the same command again to make"):
      read(run)


@pytest.mark.parametrize("name", READERS)
def test_a_result_that_is_not_as_it_was_written_is_refused_in_one_line(run, tmp_path, name):
  write(run)
  other = Run.create(tmp_path, "other", "0", CONFIG, MANIFEST)
  write(other, value=0.75)
  path = run.path / name
  for damage, content in (*damages(path), ("another run's", (other.path / name).read_bytes())):
    path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
    for opened in (run, Run.open(run.path)):
      assert opened.has(name)
      with pytest.raises(StoreError) as error:
        READERS[name](opened)
      advice = "is not what this run wrote; run the same command again, which makes it anew"
      assert str(error.value) == f"{path} {advice}", damage
  write(run)
  READERS[name](run)


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_results_stand_beside_what_they_were_made_with(run, tmp_path, name):
  write(run)
  others = {"identity": {"lr": 0.2}, "manifest": manifests.manifest(seeds=(8, 9))}
  other = create(tmp_path / "others", **others)
  whole = (run.path / name).read_bytes()
  (run.path / name).write_bytes((other.path / name).read_bytes())
  for read in READERS.values():
    with pytest.raises(StoreError, match=rf"{name} is not what this run wrote; run the same comm"):
      read(Run.open(run.path))
  (run.path / name).write_bytes(whole)
  assert len(Run.open(run.path).rows()) == 20


def test_a_config_of_another_experiment_may_be_deleted_as_advised(run, tmp_path):
  other = create(tmp_path / "others", identity={"lr": 0.2})
  (run.path / "config.json").write_bytes((other.path / "config.json").read_bytes())
  with pytest.raises(StoreError, match=r"config\.json is of another experiment: .*; delete it and"):
    create(tmp_path)
  (run.path / "config.json").unlink()
  assert create(tmp_path).manifest == run.manifest


def test_swapped_results_and_a_damaged_list_are_refused(run):
  write(run)
  names = ("rows.parquet", "curves.parquet")
  a, b = (run.path / name for name in names)
  shutil.move(a, run.path / "aside")
  shutil.move(b, a)
  shutil.move(run.path / "aside", b)
  for name in names:
    with pytest.raises(StoreError, match=rf"{name} is not what this run wrote"):
      READERS[name](run)
  write(run)
  path = run.path / "results.json"
  for _, content in damages(path):
    if content is not None:
      path.write_bytes(content)
      with pytest.raises(StoreError, match=r"results\.json is damaged .* SHA-256"):
        run.rows()
  write(run)
  assert len(run.rows()) == 20


def test_results_that_are_not_all_written_do_not_count(run):
  write(run)
  with pytest.raises(StopIteration), run.writing_results():
    run.write_rows([{"method": "ft", "RA": 0.75}])
    raise StopIteration
  with pytest.raises(StoreError, match="has no results yet"):
    run.rows()
  with run.writing_results():  # what was left out this time is no result any more
    run.write_rows(ROWS, COLUMNS)
  assert len(run.rows()) == 2 and not run.has("curves.parquet")
  with pytest.raises(StoreError, match=r"curves\.parquet is not what this run wrote"):
    run.table("curves")


def test_arrays_are_memory_mapped_and_exact(run):
  values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
  with run.writing_results():
    run.write_array("exposed", values)
  found = run.array("exposed")
  assert isinstance(found, np.memmap) and found.dtype == np.float32
  np.testing.assert_array_equal(found, values)
  assert not isinstance(run.array("exposed", mmap=False), np.memmap)
  with run.writing_results():
    run.write_array("exposed", values + 1)  # while the old one is mapped
  np.testing.assert_array_equal(found, values)


def test_nothing_is_unpickled(run):
  with run.writing_results():
    run.write_array("evil", np.zeros(1))
    np.save(run.path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
  with pytest.raises(StoreError, match="is damaged"):
    run.array("evil", mmap=False)


def test_rows_keep_types_and_order(run):
  with run.writing_results():
    run.write_rows(ROWS, COLUMNS)
  found = run.rows()
  assert list(found.columns) == ["method", "seed", "finite", "failed_steps", "RA", "extra"]
  assert found["seed"].dtype == np.int64 and found["finite"].dtype == bool
  assert found["RA"].dtype == found["extra"].dtype == np.float64
  assert list(found["failed_steps"]) == ["", "epoch 3"]
  assert np.isnan(found["RA"][1]) and np.isnan(found["extra"][1])


def test_equal_rows_give_equal_bytes(run):
  every = [dict.fromkeys(COLUMNS[4:], 0.25) | row for row in ROWS]
  content = (run.path / "rows.parquet").read_bytes
  run.write_rows(every, COLUMNS)
  first = content()
  run.write_rows([dict(reversed(row.items())) for row in every], COLUMNS)
  assert content() == first
  run.write_rows([every[0], every[1] | {"FA": np.nextafter(0.25, 1)}], COLUMNS)
  assert content() != first


def test_tables_by_name(run):
  curves = [{"stage": "ft", "epoch": e, "loss": 0.5 / (e + 1)} for e in range(3)]
  with run.writing_results():
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


WRITER = """
import sys, numpy as np
from jaxmu.store import Run
k, run = int(sys.argv[2]), Run.open(sys.argv[1])
while True:
  print(k, flush=True)
  with run.writing_results():
    run.write_array("exposed", np.full(20000, k))
    run.write_rows([{"method": "ft", "seed": s, "RA": float(k)} for s in range(200)])
  run.log({"event": "done", "k": k})
  k += 1
"""


def test_kill_at_any_moment_leaves_whole_results_or_none(tmp_path):
  k, path, seen = 0, create(tmp_path).path, []
  for _ in range(5):
    command = [sys.executable, "-c", WRITER, str(path), str(k)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
      first = [process.stdout.readline() for _ in range(2)]  # one whole round is done
      time.sleep(0.1 * random.random())
      process.send_signal(signal.SIGKILL)
      last = max(int(line) for line in (*first, *process.stdout.read().split()))
    run = Run.open(path)
    assert {event["k"] for event in run.events()} >= set(range(last))
    try:
      values, rows = run.array("exposed"), run.rows()
    except StoreError as error:
      assert "has no results yet" in str(error)
      seen.append(None)
    else:
      (value,) = set(values.tolist())
      assert value in (last - 1, last) and len(rows) == 200 and set(rows["RA"]) == {value}
      seen.append(value)
    k = last
  assert len(seen) == 5


def test_json_files_are_readable_by_others(run):
  document = json.loads((run.path / "manifest.json").read_text())
  assert len(document.pop("sha256")) == 64
  assert document == files.plain(MANIFEST)
