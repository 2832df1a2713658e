"""What --plan refuses: all that the run itself would refuse, before anything is read."""

import dataclasses
import json

import pytest
from support import studies, sweeps

from jaxmu import models
from jaxmu.models import cost
from jaxmu.store import Run, files
from jaxmu.store.manifest import Device
from jaxmu.store.record import Record
from jaxmu.studies import plan

FILE = "config.output_dir is '{folder}/file/runs', but {folder}/file is a file; give a folder"
CASES = {
  "no training samples": (
    ["--config.data.val_fraction=0.9999", "--config.data.forget_fraction=0.9999"],
    "the train set is empty (of 400 training and 100 test samples); expected at least one sample",
  ),
  "too few to attack": (
    ["--config.data.subset_train=40"],
    "the forget set has 4 samples, the attack needs at least 6; use more data",
  ),
  "subset of more than all": (
    ["--config.data.subset_train=401"],
    "config.data.subset_train is 401; expected 0 (keep all) or 1 to 400, the number there is",
  ),
  "test part of more than all": (
    ["--config.data.subset_test=101"],
    "config.data.subset_test is 101; expected 0 (keep all) or 1 to 100",
  ),
  "output is a file": (
    ["--config.output_dir={folder}/file"],
    "but {folder}/file is a file; give a folder",
  ),
  "output in a file": (["--config.output_dir={folder}/file/runs"], FILE),
  "long output": (["--config.output_dir=" + "a" * 300], "expected a path of at most 2048 bytes"),
  "long name": (["--config.name=" + "a" * 300], "expected at most 200 characters"),
  "negative speed": (
    ["--images-per-second=-5"],
    "--images-per-second is -5.0; expected a number at least 0.001 and at most 1e+12",
  ),
  "no speed": (["--images-per-second=0"], "--images-per-second is 0.0; expected a number at"),
  "nan": (["--images-per-second=nan"], "--images-per-second is nan; expected a number at"),
  "infinite": (["--images-per-second=inf"], "--images-per-second is inf; expected a number at"),
  "next to nothing": (["--images-per-second=1e-320"], "--images-per-second is 1e-320; expected"),
  "no GPUs": (["--gpus=8,0"], "--gpus=8,0: expected whole numbers at least 1 and at most 1000000"),
  "GPUs in words": (["--gpus=eight"], "--gpus=eight: expected whole numbers at least 1"),
  "part of a GPU": (["--gpus=0.5"], "--gpus=0.5: expected whole numbers at least 1"),
  "start before": (["--start-seconds=-1"], "--start-seconds is -1.0; expected a number at least 0"),
  "text": (["--images-per-second=fast"], "argument --images-per-second: invalid float value"),
}
ALIKE = ("subset of more than all", "output in a file", "negative speed", "nan")


@pytest.mark.parametrize(
  ("case", "program"),
  [*((case, sweeps) for case in CASES), *((case, studies) for case in ALIKE)],
)
def test_impossible_plans_give_one_line(case, program, tmp_path, monkeypatch, capsys):
  overrides, message = CASES[case]
  (tmp_path / "file").write_text("not a folder")
  monkeypatch.chdir(tmp_path)
  words = [word.format(folder=tmp_path) for word in overrides]
  assert sweeps.call(*program.arguments(tmp_path / "runs", "--plan", *words)) == 2
  out, shown = capsys.readouterr()
  assert (out, shown.count("\n")) == ("", 1)
  assert message.format(folder=tmp_path) in shown
  assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_plan_has_the_sizes_of_the_split_and_the_speed_it_is_told(tmp_path, capsys):
  words = sweeps.arguments(tmp_path / "runs", "--plan", "--images-per-second=20000", methods="ft")
  assert sweeps.call(*words) == 0
  shown = capsys.readouterr().out
  assert "retain 306, forget 34, validation 60, test 100 images" in shown
  assert "assumed speed: 20,000 training images/s" in shown
  assert list(tmp_path.iterdir()) == [] and "GPUs" not in shown


def test_a_plan_says_how_long_it_takes_on_numbers_of_gpus(tmp_path, capsys):
  words = sweeps.arguments(tmp_path / "runs", "--plan", "--gpus=1,4", methods="ft")
  assert sweeps.call(*words, "--start-seconds=3600") == 0
  shown = capsys.readouterr().out.splitlines()
  assert shown[-5:-2] == [
    "  GPUs     hours  efficiency",
    "     1       3.0          0%",
    "     4       2.0          0%",  # originals and retrained models side by side, then ft
  ]
  assert shown[-2].startswith("3 jobs of ") and shown[-2].endswith("; 3600 s to start each")
  assert shown[-1] == ("speed of a GPU: 20 TFLOP/s assumed, of which no unit is finished on one")
  assert sweeps.call(*words, "--json") == 0
  found = json.loads(capsys.readouterr().out)["makespan"]
  assert [each["devices"] for each in found["schedules"]] == [1, 4]
  assert found["jobs"] == 3 and found["start_seconds"] == 60
  assert found["gpu_hours"] == pytest.approx(found["schedules"][0]["hours"] - 3 / 60)


def test_the_speed_of_a_gpu_is_that_of_finished_units(tmp_path, capsys):
  """Where they ran on one: work by seconds of all devices."""
  words = sweeps.arguments(tmp_path, methods="ft")
  assert sweeps.call(*words) == 0
  told = lambda: plan.plan(sweeps.settings(*words)).device_flops
  assert told() is None  # on a CPU
  run = Run.open(sweeps.only_run(tmp_path))
  gpu = dataclasses.replace(run.manifest, device=Device("gpu", "some", 2))
  files.write_sealed(run.path / "manifest.json", gpu)
  groups = [
    group for name in ("original", "retrained", "ft") for group in Record(run.path).groups(name)
  ]
  made = run.manifest.dataset
  network = models.make("cnn", made.num_classes, width=4)
  flops = cost.forward_flops(network, made.image_shape[0], made.image_shape[-1])
  work = flops * sum(group.cost.passes for group in groups)
  assert told() == pytest.approx(work / sum(2 * group.cost.wall_s for group in groups))
