"""The machine: cores that a process may use, a cache for users without a home, one TPU host."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jaxmu.engine import runtime
from jaxmu.errors import UserError


@pytest.fixture
def machine(monkeypatch, tmp_path):
  """Eight cores, no Slurm, no container; return the folder of its cgroups."""
  monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
  monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
  quota = runtime._quota
  monkeypatch.setattr(runtime, "_quota", lambda cgroups: quota(tmp_path))
  return tmp_path


@pytest.mark.parametrize(("task", "cores"), [("", 8), ("3", 3), ("64", 8), ("x", 8), ("0", 8)])
def test_a_slurm_task_takes_its_cores(machine, monkeypatch, task, cores):
  monkeypatch.setenv("SLURM_CPUS_PER_TASK", task)
  assert runtime.cores() == cores


@pytest.mark.parametrize(
  ("limit", "cores"),
  [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", 8), ("", 8)],
)
def test_a_container_takes_its_share(machine, limit, cores):
  (machine / "cpu.max").write_text(limit + "\n")
  assert runtime.cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3), ("1600000", 8)])
def test_older_containers_take_their_share(machine, quota, cores):
  (machine / "cpu").mkdir()
  (machine / "cpu" / "cpu.cfs_quota_us").write_text(quota)
  (machine / "cpu" / "cpu.cfs_period_us").write_text("100000")
  assert runtime.cores() == cores


def test_the_smallest_limit_counts(machine, monkeypatch):
  (machine / "cpu.max").write_text("400000 100000")
  monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
  assert runtime.cores() == 2
  monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
  assert runtime.cores() == 1


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
  """A user without HOME and without an entry in the list of users; return where all may write."""

  def home():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.setattr(Path, "home", home)
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  return tmp_path


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert runtime.cache_home() == tmp_path / "jaxmu"
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setenv("HOME", str(tmp_path))
  assert runtime.cache_home() == tmp_path / ".cache" / "jaxmu"


def test_a_user_without_a_home_has_a_cache_of_his_own(nowhere):
  found = runtime.cache_home()
  assert found == nowhere / f"jaxmu-cache-{os.getuid()}"
  assert stat.S_IMODE(found.stat().st_mode) == 0o700
  assert runtime.cache_home() == found


@pytest.mark.parametrize("trap", ["link", "open", "file"])
def test_what_others_may_have_put_there_is_not_used(nowhere, trap):
  """Compiled programs are run: whoever can write them, can do what the user can."""
  path = nowhere / f"jaxmu-cache-{os.getuid()}"
  if trap == "link":
    (nowhere / "theirs").mkdir()
    path.symlink_to(nowhere / "theirs")
  elif trap == "open":
    path.mkdir()
    path.chmod(0o777)
  else:
    path.write_text("")
  found = runtime.cache_home()
  assert found != path and found.parent == nowhere and stat.S_IMODE(found.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_is_none(nowhere, monkeypatch, tmp_path):
  home = tmp_path / "home"
  home.mkdir()
  monkeypatch.setattr(Path, "home", lambda: home)
  monkeypatch.setattr(os, "access", lambda path, mode: path != home)  # root may write anywhere
  assert runtime.cache_home() == nowhere / f"jaxmu-cache-{os.getuid()}"
  (home / ".cache" / "jaxmu").mkdir(parents=True)  # but one that is there is used
  assert runtime.cache_home() == home / ".cache" / "jaxmu"


NOBODY = """
import os
from jaxmu.engine import runtime
os.setuid(12345)
print(runtime.cache_home())
"""


def test_a_user_that_nobody_knows():
  if os.geteuid():
    pytest.skip("only root can become one")
  environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
  with tempfile.TemporaryDirectory(dir="/tmp") as folder:
    os.chmod(folder, 0o1777)
    command, environment["TMPDIR"] = [sys.executable, "-c", NOBODY], folder
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert (done.stdout, done.stderr) == (f"{folder}/jaxmu-cache-12345\n", "")


def chips(folder: Path, count: int, name: str = "accel{}") -> Path:
  for number in range(count):
    path = folder / name.format(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  return folder


SEVERAL = {"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2", "TPU_WORKER_ID": "1"}
ALONE = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_PROCESS_BOUNDS": "1,1,1",
  "TPU_CHIPS_PER_PROCESS_BOUNDS": "2,2,1",
  "TPU_VISIBLE_CHIPS": "0,1,2,3",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_WORKER_ID": "0",
}


def test_a_host_of_a_tpu_slice_works_alone(tmp_path):
  devices = chips(tmp_path, 4)
  assert runtime.one_tpu_host(SEVERAL, devices) == ALONE
  assert runtime.one_tpu_host({"JAXMU_ONE_TPU_HOST": "1"}, devices) == ALONE
  assert runtime.one_tpu_host(SEVERAL | {"JAX_PLATFORMS": "tpu,cpu"}, devices) == ALONE
  assert runtime.one_tpu_host(SEVERAL | ALONE, devices) == {}  # done before


@pytest.mark.parametrize(
  "change",
  [
    {"TPU_WORKER_HOSTNAMES": "10.0.0.1"},
    {"TPU_WORKER_HOSTNAMES": ""},
    {"JAXMU_ONE_TPU_HOST": "0"},
    {"JAX_PLATFORMS": "cpu"},
    {"TPU_PROCESS_BOUNDS": "2,1,1"},
  ],
)
def test_other_processes_keep_their_topology(tmp_path, change):
  assert runtime.one_tpu_host(SEVERAL | change, chips(tmp_path, 4)) == {}


def test_the_bounds_of_a_host_are_those_it_is_told(tmp_path):
  devices = chips(tmp_path, 8, "vfio/{}")
  found = runtime.one_tpu_host(SEVERAL, devices)
  assert found["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "2,4,1"
  assert found["TPU_VISIBLE_CHIPS"] == "0,1,2,3,4,5,6,7"
  told = SEVERAL | {"TPU_CHIPS_PER_HOST_BOUNDS": "4,2,1"}
  assert runtime.one_tpu_host(told, devices)["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "4,2,1"


def test_a_host_without_chips_is_no_tpu_host(tmp_path):
  assert runtime.one_tpu_host(SEVERAL, tmp_path) == {}
  with pytest.raises(UserError, match=f"JAXMU_ONE_TPU_HOST is 1, but {tmp_path} holds no TPU"):
    runtime.one_tpu_host({"JAXMU_ONE_TPU_HOST": "1"}, tmp_path)
