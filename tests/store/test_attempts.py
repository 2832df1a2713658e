"""Attempts: one of many is committed, whole; locks only where there are locks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest
from support import races

from jaxmu.errors import StoreError
from jaxmu.store import attempts, files, private_names


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()
  }


def test_the_first_attempt_wins(tmp_path):
  final = tmp_path / "stages" / "ft" / "000"
  first, second = races.attempt(final, "first"), races.attempt(final, "second")
  assert first != second and first.parent == second.parent == final.parent
  assert attempts.commit_folder(first, final)
  assert not attempts.commit_folder(second, final)
  assert contents(final) == {"state/a": "first", "marker.json": '"first"\n'}
  assert os.listdir(final.parent) == ["000"]


@pytest.mark.parametrize(
  ("processes", "commits"), [(4, 25), pytest.param(8, 200, marks=pytest.mark.slow)]
)
def test_of_many_attempts_exactly_one_is_committed(tmp_path, processes, commits):
  found = races.run(processes, commits, races.commit, tmp_path)
  assert sorted(os.listdir(tmp_path)) == sorted(map(str, range(commits)))
  for k in range(commits):
    (winner,) = [str(pid) for pid, won in found.items() if won[k]]
    assert contents(tmp_path / str(k)) == {"state/a": winner, "marker.json": f'"{winner}"\n'}


def test_a_commit_is_synced_before_and_after_its_rename(tmp_path, monkeypatch):
  final, order = tmp_path / "000", []
  attempt = races.attempt(final, "x")
  rename = attempts.renamed
  monkeypatch.setattr(attempts, "sync", order.append)
  monkeypatch.setattr(attempts, "renamed", lambda *a: order.append("rename") or rename(*a))
  assert attempts.commit_folder(attempt, final)
  assert order[-2:] == ["rename", tmp_path]
  inside = {attempt, attempt / "state", attempt / "state" / "a", attempt / "marker.json"}
  assert set(order[:-2]) == inside


def test_what_cannot_be_committed_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(StoreError, match=r"cannot write .*/file/000: Not a directory"):
    attempts.attempt_folder(tmp_path / "file" / "000")
  attempt = races.attempt(tmp_path / "file", "x")
  with pytest.raises(StoreError, match=r"cannot write .*/file: Not a directory"):
    attempts.commit_folder(attempt, tmp_path / "file")
  with pytest.raises(StoreError, match=r"cannot write .*/000: No such file"):
    attempts.commit_folder(tmp_path / "absent", tmp_path / "000")


def test_attempts_of_dead_processes_are_swept(tmp_path):
  final = tmp_path / "000"
  mine, dead, other = (
    races.attempt(final, "x"),
    races.dead_attempt(final),
    races.dead_attempt(tmp_path / "001"),
  )
  attempts.sweep_attempts(final)
  assert mine.is_dir() and other.is_dir() and not dead.exists()
  attempts.sweep_folder(tmp_path)
  assert mine.is_dir() and not other.exists()


def test_an_attempt_of_another_host_is_young_while_it_is_written_to(tmp_path):
  attempt = tmp_path / ".000.node7-12345678.9.0123456789ab"
  attempt.mkdir()
  (attempt / "log").write_text("")
  old = attempt.stat().st_mtime - 2 * private_names.DAY
  os.utime(attempt, (old, old))
  attempts.sweep_folder(tmp_path)
  assert attempt.is_dir()
  os.utime(attempt / "log", (old, old))
  attempts.sweep_folder(tmp_path)
  assert not attempt.exists()


@pytest.mark.parametrize("number", [None, errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS])
def test_trees_share_their_bytes_where_they_can(tmp_path, monkeypatch, number):
  source, target = races.attempt(tmp_path / "source", "x"), tmp_path / "deep" / "target"

  def link(a, b):
    raise OSError(number, os.strerror(number))

  if number:
    monkeypatch.setattr(os, "link", link)
  attempts.hardlink_tree(source, target)
  assert contents(target) == contents(source)
  assert os.path.samefile(target / "state" / "a", source / "state" / "a") is not bool(number)
  files.write_json(target / "marker.json", "mine")  # replaced, not changed in place
  assert contents(source)["marker.json"] == '"x"\n'


def test_a_full_disk_while_linking_is_one_line(tmp_path, monkeypatch):
  source = races.attempt(tmp_path / "source", "x")

  def link(a, b):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "link", link)
  with pytest.raises(StoreError) as error:
    attempts.hardlink_tree(source, tmp_path / "target")
  assert str(error.value) == f"cannot write {tmp_path}/target: No space left on device"


HOLDER = """
import sys
from pathlib import Path
from jaxmu.store import attempts
with attempts.lock(Path(sys.argv[1])) as free:
  print(free, flush=True)
  sys.stdin.read()
"""


def test_a_lock_is_free_again_once_its_process_is_killed(tmp_path):
  path = tmp_path / "legs" / ".lock"
  command = [sys.executable, "-c", HOLDER, str(path)]
  with subprocess.Popen(
    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as holder:
    assert holder.stdout.readline() == "True\n"
    with attempts.lock(path) as free:
      assert not free
    holder.send_signal(signal.SIGKILL)
    holder.wait()
  with attempts.lock(path) as free:
    assert free
    with attempts.lock(path) as again:
      assert not again
  with attempts.lock(path) as free:
    assert free


def test_a_lock_may_be_removed_by_whoever_holds_it(tmp_path):
  found = races.run(4, 4, races.hold, tmp_path)
  assert sum(map(sum, found.values())) >= 100  # somebody always gets it


def test_a_lock_below_a_file_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with (
    pytest.raises(StoreError, match=r"cannot write .*/file/.lock: "),
    attempts.lock(tmp_path / "file" / ".lock"),
  ):
    pass


@pytest.mark.parametrize(
  ("number", "expected"),
  [
    *((number, False) for number in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)),
    *((n, True) for n in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)),
    (errno.EIO, None),
  ],
)
def test_no_locks_here_is_not_held_elsewhere(tmp_path, monkeypatch, number, expected):
  def flock(file, how):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, "flock", flock)
  if expected is None:
    with pytest.raises(StoreError, match=r"cannot write .*/x: Input/output error"):
      attempts.lock(tmp_path / "x").__enter__()
  else:
    with attempts.lock(tmp_path / "x") as free:
      assert free is expected


def test_an_error_under_a_lock_is_passed_on(tmp_path):
  with pytest.raises(FileNotFoundError), attempts.lock(tmp_path / "x"):
    (tmp_path / "absent").read_text()
  with attempts.lock(tmp_path / "x") as free:
    assert free
