"""The machine: cores that a process may use, and a cache for users without a home."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jaxmu.engine import runtime


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
