"""Inspecting runs, groups and checkpoints, in the library and through the script."""

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support import manifests, records

from jaxmu.command import inspection_text
from jaxmu.errors import CheckpointError, StoreError
from jaxmu.execution.observations import Leg, Snapshot
from jaxmu.store import Run, checkpoint, files, inspection
from jaxmu.store.groups import ALIVE, SignOfLife
from jaxmu.store.legs import Legs
from jaxmu.store.record import Record
from jaxmu.training import EpochMetrics

SCRIPT = Path(__file__).parents[2] / "bin" / "inspect.py"
CONFIG = {"model": {"name": "cnn"}, "study": "benchmark"}
VARIABLES = {
  "params": {"head": {"kernel": np.float32([[3, 4], [6, 8]])}},
  "batch_stats": {"mean": np.ones((2, 3), np.float32)},
}
FAILURE = "epoch 2 (steps 5-9)"


def commit(record, stage, group, seeds, **options):
  """Finish a group that keeps variables."""
  attempt = record.attempt(stage, group)
  checkpoint.save(attempt / "variables", VARIABLES, {"stage": stage, "steps": 60, "members": []})
  record.commit(attempt, records.marker(stage, group, records.expected(seeds), **options))


def save_leg(record, stage, group):
  """Save a leg of a group that is under way."""
  metrics = EpochMetrics(*(np.ones((2, 4)) for _ in range(3)))
  snapshot = Snapshot(0, 2, 1.5, ("", ""), VARIABLES, np.array([7, 7]), {})
  taken = Leg("train", 0, 2, 9, 4, metrics, 64, 0.5, lambda: snapshot)
  Legs(record.legs(stage, group), "a", every=0).take(taken)


@pytest.fixture
def run(tmp_path):
  """Originals of seeds 4 to 6 in two groups, of which one diverged; of FT one group is begun."""
  manifest = manifests.manifest(("original", "ft"), seeds=(4, 5, 6))
  run = Run.create(tmp_path, "cnn_digits", "0", CONFIG, manifest)
  record = Record(run.path)
  for stage in ("original", "ft"):
    record.expect(stage, records.expected((4, 5, 6)))
  record.write_expected()
  commit(record, "original", "4-5", (4, 5))
  attempt = record.attempt("original", "6")
  record.commit(attempt, records.marker("original", "6", records.expected((6,)), FAILURE))
  save_leg(record, "ft", "4-5")
  return run


def group(run, name="4-5"):
  return run.path / "stages" / "original" / name


def shown(about, show=inspection_text.render):
  console = Console(file=io.StringIO(), width=120, markup=False)
  show(about, console)
  return console.file.getvalue()


def test_a_run(run):
  about = inspection.inspect(run.path)
  json.dumps(about, allow_nan=False)
  assert about["run"] == {
    "path": str(run.path),
    "name": "cnn_digits-0",
    "study": "benchmark",
    "seeds": [4, 5, 6],
    "dataset": "cifar10",
    "model": "cnn",
  }
  assert about["stages"] == [
    {"stage": "original", "members": 3, "done": 3, "failed": 1, "groups": ["4-5", "6"]},
    {"stage": "ft", "members": 3, "done": 0, "failed": 0, "groups": []},
  ]
  final, leg = about["checkpoints"]
  assert (final["stage"], final["leg"], final["metadata"]["steps"]) == ("original", None, 60)
  assert final["members"] == [
    {"member": "seed 4", "finite": True, "RA": 0.54},
    {"member": "seed 5", "finite": True, "RA": 0.55},
  ]
  assert final["leaves"][1] == {
    "name": "params/head/kernel",
    "shape": [2, 2],
    "dtype": "float32",
    "bytes": 16,
  }
  assert (final["bytes"], final["parameters"]) == (40, 2)
  assert (leg["stage"], leg["leg"], leg["metadata"]["epoch"]) == ("ft", "0-2", 2)
  assert "curves" not in leg["metadata"] and leg["members"] == []
  assert leg["parameters"] == 2
  said = shown(about)
  for part in ("run cnn_digits-0: benchmark of cnn on cifar10", "under way", "epoch: 2", "0.5400"):
    assert part in said
  assert "variables/params/head/kernel" in said and "[2, 2]" in said


def test_who_works_is_told_with_the_last_sign_of_life(run):
  (unit,) = inspection.inspect(run.path)["working"]
  assert unit.pop("seconds_ago") < 60
  assert unit.pop("host") and unit.pop("process") > 0
  assert unit == {
    "unit": "ft/4-5",
    "phase": "train",
    "epoch": 3,
    "epochs": 9,
    "members": 2,
    "stale": False,
  }
  quiet = SignOfLife("far", 7, time.time() - 500, "train", 3, 9, 2, 0.5)
  path = run.path / "legs" / "ft" / "4-5" / ALIVE
  files.write_json(path, quiet)
  (unit,) = inspection.inspect(run.path)["working"]
  assert (
    unit["stale"] and unit["host"] == "far" and unit["seconds_ago"] == pytest.approx(500, abs=60)
  )
  # Long epochs are no sign of death.
  files.write_json(path, SignOfLife("far", 7, time.time() - 500, "train", 3, 9, 2, 400.0))
  assert not inspection.inspect(run.path)["working"][0]["stale"]


def test_groups_of_other_settings_do_not_count(run):
  record = Record(run.path)
  attempt = record.attempt("ft", "other")
  record.commit(attempt, records.marker("ft", "other", records.expected((4, 5), of="b"), FAILURE))
  ft = inspection.inspect(run.path)["stages"][1]
  assert (ft["done"], ft["failed"], ft["groups"]) == (0, 0, ["other"])


def test_one_group_with_norms(run):
  about = inspection.inspect(group(run), norms=True)
  (found,) = about["checkpoints"]
  assert found["norms"] == [5, 10]  # parameters only, not BatchNorm statistics
  assert found["leaves"][1]["norms"] == [5, 10]
  assert found["leaves"][0]["norms"] == pytest.approx([3**0.5, 3**0.5])
  assert [member["member"] for member in found["members"]] == ["seed 4", "seed 5"]
  said = shown(about)
  assert "5 to 10" in said and "10.0000" in said and "total" in said
  assert inspection.inspect(group(run) / "variables", norms=True) == about
  leg = inspection.inspect(run.path / "legs" / "ft" / "4-5" / "0-2", norms=True)["checkpoints"][0]
  assert (
    leg["norms"] == [5, 10] and "norms" not in {n["name"]: n for n in leg["leaves"]}["failed_at"]
  )


def test_arrays_are_not_read_unless_asked(run):
  for path in (group(run) / "variables").iterdir():
    if path.name != checkpoint.METADATA:
      shutil.rmtree(path) if path.is_dir() else path.unlink()
  assert inspection.inspect(run.path)["checkpoints"][0]["bytes"] == 40
  with pytest.raises(CheckpointError, match="is damaged"):
    inspection.inspect(run.path, norms=True)


def test_a_checkpoint_outside_a_run(tmp_path):
  checkpoint.save(tmp_path / "alone", VARIABLES, {"seeds": [1, 2]})
  about = inspection.inspect(tmp_path / "alone")
  assert about["run"] is None and about["checkpoints"][0]["members"] == []
  assert "params/head/kernel" in shown(about)


def test_what_is_neither_is_one_line(run, tmp_path):
  with pytest.raises(StoreError, match="does not exist"):
    inspection.inspect(tmp_path / "nowhere")
  with pytest.raises(StoreError, match="neither a run"):
    inspection.inspect(tmp_path)
  with pytest.raises(CheckpointError, match="is not a whole checkpoint"):
    inspection.inspect(group(run, "6"))


def script(*arguments):
  command = [sys.executable, str(SCRIPT), *map(str, arguments)]
  environment = {"PYTHONPATH": str(SCRIPT.parents[1]), "PATH": "/usr/bin:/bin"}
  return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_script_prints_tables_status_json_and_errors(run):
  found = script(run.path)
  assert found.returncode == 0 and "members of original" in found.stdout and not found.stderr
  found = script(run.path, "--status")
  assert found.stdout.startswith("run cnn_digits-0: 3 of 6 members done\n") and not found.stderr
  assert "last sign of life" in found.stdout and "members of original" not in found.stdout
  found = script(run.path, "--status", "--json")
  assert json.loads(found.stdout)["total"]["done"] == 3
  found = script(group(run), "--json")
  assert json.loads(found.stdout) == inspection.inspect(group(run))
  (group(run) / "variables" / checkpoint.METADATA).write_text("{")
  found = script(run.path)
  assert found.returncode == 2 and found.stdout == ""
  assert found.stderr.startswith("error: ") and found.stderr.count("\n") == 1
  assert "variables/metadata.json is damaged" in found.stderr and "--repair" in found.stderr


def test_weights_of_another_run_are_not_shown_as_this_ones(run):
  weights = group(run) / "variables"
  checkpoint.save(weights, {"params": {"head": np.zeros((2, 2), np.float32)}}, {})
  for path in (run.path, group(run), weights):
    with pytest.raises(StoreError, match=r"variables/metadata\.json is damaged .*--repair"):
      inspection.inspect(path)


def test_weights_that_were_lost_are_missed(run):
  shutil.rmtree(group(run) / "variables")
  with pytest.raises(
    StoreError, match=r"variables/metadata\.json is damaged .*not there.*--repair"
  ):
    inspection.inspect(run.path)


def test_damaged_weights_are_refused_with_advice_that_works(run):
  array = next(path for path in (group(run) / "variables").rglob("d/*") if path.is_file())
  array.write_bytes(array.read_bytes()[:-1])
  inspection.inspect(run.path)
  with pytest.raises(CheckpointError, match=r"variables is damaged .*--repair"):
    inspection.inspect(run.path, norms=True)


def test_who_is_asked_for_must_be_known_once_something_is_done(run):
  (run.path / "members.json").unlink()
  with pytest.raises(StoreError, match=r"members\.json does not exist; run the same command again"):
    inspection.inspect(run.path)
  shutil.rmtree(run.path / "stages")
  assert inspection.inspect(run.path)["stages"][0]["members"] == 0


FILES = ["config.json", "manifest.json", "members.json", "stages/original/4-5/marker.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", ["[]", "{}", "{", ""])
def test_records_of_another_form_are_one_line(run, name, content):
  (run.path / name).write_text(content)
  with pytest.raises(StoreError, match=rf"{name} is damaged \(") as error:
    inspection.inspect(run.path)
  assert "\n" not in str(error.value)


def test_a_config_without_a_network_is_one_line(tmp_path):
  run = Run.create(tmp_path, "x", "0", {"study": "benchmark"}, manifests.manifest())
  with pytest.raises(StoreError, match=r"config\.json is damaged \('model' is missing\)"):
    inspection.inspect(run.path)


def test_script_does_not_hide_the_standard_library():
  """Scripts beside bin/inspect.py have its folder first on their path."""
  code = (
    f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); sys.modules.pop('inspect', None)\n"
  )
  code += "import inspect; inspect.signature(print); print(inspect.__name__, inspect.__file__)"
  found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  name, file = found.stdout.split()
  assert name == "inspect" and Path(file) != SCRIPT
