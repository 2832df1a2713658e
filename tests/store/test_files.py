"""Files: whole or not at all, one winner of many writers, every change of a sealed one found."""

import dataclasses
import errno
import json
import os
import subprocess

import numpy as np
import pytest
from support import races

from jaxmu.errors import StoreError
from jaxmu.store import files, private_names, typed_json

FILES = 25


@dataclasses.dataclass(frozen=True)
class Marker:
  stage: str
  seconds: float
  members: tuple[int, ...]


MARKER = Marker("ft", 1e-05, (3, 4))


def names(folder):
  return sorted(entry.name for entry in folder.iterdir())


def test_a_writer_that_fails_leaves_the_old_file_alone(tmp_path):
  path = tmp_path / "deep" / "x.json"
  files.write_json(path, [1])

  def fail(file):
    file.write(b"[2")
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    files.replace(path, fail)
  with pytest.raises(ZeroDivisionError):
    files.write_new(tmp_path / "deep" / "y.json", fail)
  assert files.read_json(path) == [1] and names(path.parent) == ["x.json"]


def refuse(number):
  def write(file):
    raise OSError(number, os.strerror(number), "/some/where")

  return write


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_what_cannot_be_written_is_one_line(tmp_path, number):
  path = tmp_path / "x"
  for writer in (files.replace, files.write_new):
    with pytest.raises(StoreError) as error:
      writer(path, refuse(number))
    assert str(error.value) == f"cannot write {path}: {os.strerror(number)}"
  assert names(tmp_path) == []


def test_names_and_folders_that_cannot_be_are_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  for path, reason in (
    (tmp_path / ("x" * 300), "File name too long"),
    (tmp_path / "file" / "folder" / "x", "Not a directory"),
  ):
    for write in (
      lambda path: files.write_json(path, 1),
      lambda path: files.write_sealed(path, {}),
      lambda path: files.write_new(path, lambda file: None),
      lambda path: files.append_line(path, "x"),
    ):
      with pytest.raises(StoreError) as error:
        write(path)
      assert str(error.value) == f"cannot write {path}: {reason}"
  with pytest.raises(StoreError) as error:
    files.read_json(tmp_path / ("x" * 300))
  assert str(error.value).endswith("xxx: File name too long")


def test_a_full_disk_is_one_line_when_a_line_is_appended():
  with pytest.raises(StoreError, match=r"^cannot write /dev/full: No space left on device"):
    files.append_line(files.Path("/dev/full"), "x")


def test_what_cannot_be_read_is_not_called_damaged(tmp_path):
  with pytest.raises(StoreError, match=r"^cannot read .*: Is a directory") as error:
    files.read_json(tmp_path)
  assert "delete" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_damaged(tmp_path, content):
  path = tmp_path / "x.json"
  path.write_bytes(content)
  with pytest.raises(StoreError, match=r"is damaged .*; delete it and run") as error:
    files.read_json(path)
  assert "\n" not in str(error.value)


def test_lines_that_a_kill_tore_are_left_out(tmp_path):
  path = tmp_path / "log.jsonl"
  assert files.read_lines(path) == []
  files.append_line(path, "1")
  with path.open("ab") as file:
    file.write(b'{"torn": ')
  files.append_line(path, "2")
  assert files.read_lines(path) == [1, 2]
  with pytest.raises(StoreError, match="cannot read"):
    files.read_lines(tmp_path)


def test_sealed_files_come_back(tmp_path):
  path = tmp_path / "marker.json"
  for value in ({}, {"a": {"b": [1, None, "é\n"]}, "rate": np.float32(0.5)}, MARKER):
    files.write_sealed(path, value)
    assert files.read_sealed(path) == files.plain(value)
    assert json.loads(path.read_text()).keys() - files.plain(value).keys() == {"sha256"}
  assert typed_json.load_sealed(Marker, path) == MARKER
  assert names(tmp_path) == ["marker.json"]
  for value in ([1], 3, {"sha256": ""}):
    with pytest.raises(TypeError, match="only an object without an entry 'sha256' can be sealed"):
      files.write_sealed(path, value)


def test_every_change_of_a_sealed_file_is_found(tmp_path):
  """Also those that leave the same value: 1E-05 for 1e-05."""
  path = tmp_path / "marker.json"
  files.write_sealed(path, MARKER)
  whole = path.read_bytes()
  flipped = [
    whole[:k] + bytes([whole[k] ^ (1 << bit)]) + whole[k + 1 :]
    for k in range(len(whole))
    for bit in range(8)
  ]
  shorter = [whole[:k] for k in range(len(whole))]
  others = [b"{}", b"[]", whole + b"\n", whole + whole, json.dumps(json.loads(whole)).encode()]
  expected = f"{path} is damaged (it does not have its SHA-256); delete it and run the same"
  for content in (*flipped, *shorter, *others):
    path.write_bytes(content)
    with pytest.raises(StoreError) as error:
      files.read_sealed(path)
    assert str(error.value).startswith(expected) and "\n" not in str(error.value)
  path.unlink()
  with pytest.raises(StoreError, match="does not exist"):
    files.read_sealed(path)


def test_a_sealed_file_of_another_form_is_one_line(tmp_path):
  path = tmp_path / "marker.json"
  files.write_sealed(path, {"stage": "ft", "seconds": "soon", "members": []})
  with pytest.raises(StoreError, match=r"is damaged \('seconds' is text, expected a number\)"):
    typed_json.load_sealed(Marker, path)


def test_a_new_file_is_not_overwritten(tmp_path):
  path = tmp_path / "deep" / "config.json"
  assert files.write_new(path, lambda file: file.write(b"first"))
  assert not files.write_new(path, lambda file: file.write(b"second"))
  assert path.read_bytes() == b"first" and names(path.parent) == ["config.json"]


@pytest.mark.parametrize("links", [True, False])
def test_of_many_writers_of_a_new_file_exactly_one_wins(tmp_path, links):
  found = races.run(4, FILES, races.write_new, tmp_path, links)
  assert len(names(tmp_path)) == FILES
  for k in range(FILES):
    (winner,) = [pid for pid, won in found.items() if won[k]]
    assert (tmp_path / str(k)).read_bytes() == str(winner).encode() * 1000


def leftover(folder, name, host, pid, age=0.0):
  path = folder / f".{name}.{host}.{pid}.0123456789ab"
  path.write_text("")
  then = path.stat().st_mtime - age
  os.utime(path, (then, then))
  return path.name


def test_leftovers_are_swept_but_never_a_live_one(tmp_path):
  host, mine = private_names.host(), os.getpid()
  with subprocess.Popen(["true"]) as process:
    gone = process.pid
  leftover(tmp_path, "x", host, gone)
  leftover(tmp_path, "x", "other", 1, age=2 * private_names.DAY)
  stays = [
    leftover(tmp_path, "x", host, mine, age=9 * private_names.DAY),
    leftover(tmp_path, "x", "other", 1, age=0.5 * private_names.DAY),
    leftover(tmp_path, "x.y", host, gone),  # another target's
  ]
  (tmp_path / ".x.hidden").write_text("")
  files.write_json(tmp_path / "x", 1)
  assert names(tmp_path) == sorted(["x", ".x.hidden", *stays])
  private_names.sweep(tmp_path)
  assert names(tmp_path) == sorted(["x", ".x.hidden", *stays[:2]])


def test_private_names_are_unique_and_say_whose_they_are(tmp_path):
  found = {private_names.private(tmp_path / "x").name for _ in range(1000)}
  assert len(found) == 1000
  assert all(name.startswith(f".x.{private_names.host()}.{os.getpid()}.") for name in found)
