"""Inspecting runs and checkpoints, in the library and through the script."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support import manifests

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import Run, checkpoint, inspection, leg_checkpoints
from jaxmu.store.records import StageRecord, StageTiming

SCRIPT = Path(__file__).parents[2] / "bin" / "inspect.py"
VARIABLES = {
  "params": {"head": {"kernel": np.float32([[3, 4], [6, 8]])}},
  "batch_stats": {"mean": np.ones((2, 3), np.float32)},
}


@pytest.fixture
def run(tmp_path):
  manifest = manifests.manifest(("original", "ft"), seeds=(4, 5))
  run = Run.create(tmp_path, "cnn_digits", "0", {"model": {"name": "cnn"}}, manifest)
  metadata = {"stage": "original", "seeds": [4, 5], "epochs": 3, "steps": 60}
  checkpoint.save(run.state_path("original"), VARIABLES, metadata)
  failures, timing = ("", "epoch 2 (steps 5-9)"), StageTiming(1.0, 1.0, 1.0, 60)
  run.mark(StageRecord("original", "0" * 64, 180.0, failures, (), timing))
  state = {"variables": VARIABLES, "step": np.array([7, 7])}
  leg_checkpoints.save(
    run,
    "ft",
    leg_checkpoints.LegNumber(0, 1, 3),
    state,
    {"phase": "train", "epoch": 3, "curves": [1]},
  )
  rows = [
    {"method": "original", "seed": 4, "finite": True, "RA": 0.9, "TA": 0.75},
    {"method": "original", "seed": 5, "finite": False, "RA": np.nan, "TA": np.nan},
  ]
  run.write_rows(rows)
  return run


def text(about):
  console = Console(file=io.StringIO(), width=120, markup=False)
  inspection.render(about, console)
  return console.file.getvalue()


def test_a_run(run):
  about = inspection.inspect(run.path)
  json.dumps(about, allow_nan=False)
  assert about["run"]["seeds"] == [4, 5] and about["run"]["model"] == "cnn"
  assert about["stages"] == [
    {"stage": "original", "done": True, "failed": 1},
    {"stage": "ft", "done": False, "failed": 0},
  ]
  final, leg = about["checkpoints"]
  assert (final["stage"], final["leg"], final["metadata"]["steps"]) == ("original", None, 60)
  assert final["members"] == [
    {"seed": 4, "finite": True, "RA": 0.9, "TA": 0.75},
    {"seed": 5, "finite": False, "RA": None, "TA": None},
  ]
  assert final["leaves"][1] == {
    "name": "params/head/kernel",
    "shape": [2, 2],
    "dtype": "float32",
    "bytes": 16,
  }
  assert (final["bytes"], final["parameters"]) == (40, 2)
  assert (leg["stage"], leg["leg"], leg["metadata"]) == (
    "ft",
    "0-1-3",
    {"phase": "train", "epoch": 3},
  )
  assert leg["parameters"] == 2 and leg["seeds"] == [4, 5]
  shown = text(about)
  for part in ("run cnn_digits-0: cifar10, cnn, seeds 4, 5", "under way", "epoch 3", "0.7500"):
    assert part in shown
  assert "variables/params/head/kernel" in shown and "[2, 2]" in shown


def test_one_checkpoint_with_norms(run):
  about = inspection.inspect(run.state_path("original"), norms=True)
  (found,) = about["checkpoints"]
  assert found["norms"] == [5, 10]  # parameters only, not BatchNorm statistics
  assert found["leaves"][1]["norms"] == [5, 10]
  assert found["leaves"][0]["norms"] == pytest.approx([3**0.5, 3**0.5])
  shown = text(about)
  assert "5 to 10" in shown and "10.0000" in shown and "total" in shown
  leg = inspection.inspect(run.path / "legs" / "ft" / "0-1-3", norms=True)["checkpoints"][0]
  assert leg["norms"] == [5, 10] and "norms" not in {n["name"]: n for n in leg["leaves"]}["step"]


def test_arrays_are_not_read_unless_asked(run):
  shutil.rmtree(run.state_path("original") / "state")
  assert inspection.inspect(run.path)["checkpoints"][0]["bytes"] == 40
  with pytest.raises(CheckpointError, match="is damaged"):
    inspection.inspect(run.path, norms=True)


def test_a_checkpoint_outside_a_run(tmp_path):
  checkpoint.save(tmp_path / "alone", VARIABLES, {"seeds": [1, 2]})
  about = inspection.inspect(tmp_path / "alone")
  assert about["run"] is None and about["checkpoints"][0]["members"] == []
  assert "params/head/kernel" in text(about)


def test_what_is_neither_is_one_line(run, tmp_path):
  with pytest.raises(StoreError, match="does not exist"):
    inspection.inspect(tmp_path / "nowhere")
  with pytest.raises(StoreError, match="neither a run"):
    inspection.inspect(tmp_path)
  (run.state_path("original") / checkpoint.METADATA).unlink()
  with pytest.raises(CheckpointError, match="is not a whole checkpoint"):
    inspection.inspect(run.state_path("original"))
  with pytest.raises(CheckpointError, match="no checkpoint at"):
    inspection.inspect(run.path)


@pytest.mark.parametrize(
  "count, shown", [(0, "0 B"), (999, "999 B"), (2600, "2.6 kB"), (3e10, "30.0 GB")]
)
def test_sizes_have_units(count, shown):
  assert inspection.size(count) == shown


def script(*arguments):
  command = [sys.executable, str(SCRIPT), *map(str, arguments)]
  environment = {"PYTHONPATH": str(SCRIPT.parents[1]), "PATH": "/usr/bin:/bin"}
  return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_script_prints_tables_json_and_errors(run, tmp_path):
  found = script(run.path)
  assert found.returncode == 0 and "members of original" in found.stdout and not found.stderr
  found = script(run.state_path("original"), "--json")
  assert json.loads(found.stdout) == inspection.inspect(run.state_path("original"))
  (run.state_path("original") / checkpoint.METADATA).write_text("{")
  found = script(run.path)
  assert found.returncode == 2 and found.stdout == ""
  assert found.stderr.startswith("error: checkpoint") and found.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["config", "manifest", "stages/original", "scores/ft"])
@pytest.mark.parametrize("content", ["[]", "{}", "{"])
def test_records_of_another_form_are_one_line(run, name, content):
  path = run.path / f"{name}.json"
  path.parent.mkdir(exist_ok=True)
  path.write_text(content)
  with pytest.raises(StoreError, match=rf"{name}\.json is damaged \(") as error:
    inspection.inspect(run.path)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("metadata", "message"),
  [({"seeds": 5}, "'seeds' is a whole number, expected a list"), ({"stage": []}, "'stage' is a l")],
)
def test_metadata_of_another_form_is_one_line(tmp_path, metadata, message):
  checkpoint.save(tmp_path / "alone", VARIABLES, metadata)
  with pytest.raises(StoreError, match=rf"metadata\.json is damaged \({message}"):
    inspection.inspect(tmp_path / "alone")


def test_script_does_not_hide_the_standard_library():
  """Scripts beside bin/inspect.py have its folder first on their path."""
  code = (
    f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); sys.modules.pop('inspect', None)\n"
  )
  code += "import inspect; inspect.signature(print); print(inspect.__name__, inspect.__file__)"
  found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  name, file = found.stdout.split()
  assert name == "inspect" and Path(file) != SCRIPT
