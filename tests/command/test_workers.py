"""Workers: cores and GPUs are divided, what one leaves another does, results are those of one."""

import os
import subprocess

import pytest
from support import sweeps

from jaxmu.command import workers
from jaxmu.engine import runtime
from jaxmu.errors import SettingsError
from jaxmu.store import Run
from jaxmu.store.record import Record


def test_every_core_and_gpu_goes_to_one_worker():
  found = workers.shares(3, range(8), ["0", "1", "2"])
  assert [share.cores for share in found] == [(0, 3, 6), (1, 4, 7), (2, 5)]
  assert [share.gpus for share in found] == [("0",), ("1",), ("2",)]
  assert found[1].environment()["CUDA_VISIBLE_DEVICES"] == "1"
  alone = workers.shares(1, range(2), [])[0].environment()
  assert "CUDA_VISIBLE_DEVICES" not in alone and alone["JAXMU_COMPILE_AHEAD"] == "0"


def test_more_workers_than_there_is_for_them_is_one_line():
  with pytest.raises(SettingsError, match="--workers=3: this machine has 2 cores; expected at"):
    workers.shares(3, range(2), [])
  with pytest.raises(SettingsError, match="--workers=2: this machine has 1 GPUs"):
    workers.shares(2, range(8), ["0"])


def test_gpus_are_named_as_the_environment_allows():
  assert runtime.visible_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}) == ["2", "3"]
  assert runtime.visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
  assert runtime.visible_gpus({"JAX_PLATFORMS": "cpu"}) == []


TWO = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores")


def run(folder, *overrides, environment=None):
  """Run the tiny benchmark in processes of its own."""
  command = sweeps.command(*sweeps.arguments(folder, *overrides))
  found = os.environ if environment is None else environment
  ended = subprocess.run(command, capture_output=True, text=True, check=False, env=found)
  assert ended.returncode == 0, ended.stderr
  return Run.open(sweeps.only_run(folder))


@TWO
def test_two_workers_do_each_unit_once(tmp_path):
  found = run(tmp_path, "--workers=2")
  started = [event["unit"] for event in found.events() if event["event"] == "start"]
  assert len(started) == len(set(started)) == 4
  assert [len(Record(found.path).groups(stage)) for stage in ("original", "msg")] == [1, 1]
  assert len(found.rows()) == 8 and (found.path / "report.html").is_file()
  assert "--workers" not in found.manifest.command


@TWO
@pytest.mark.slow
def test_two_workers_give_what_one_process_gives(tmp_path):
  """Bit for bit, with the compiler that users have: that of quick tests rounds otherwise."""
  plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  a = run(tmp_path / "one", environment=plain)
  b = run(tmp_path / "two", "--workers=2", environment=plain)
  for table in ("rows.parquet", "curves.parquet", "intervals.parquet"):
    assert (a.path / table).read_bytes() == (b.path / table).read_bytes()
