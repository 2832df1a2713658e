"""Compiled programs: torn entries are deleted, whole ones shared, and races harm nothing."""

import errno
import os
import random
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxmu.engine import compilation_cache as cache

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def unopened(monkeypatch):
  """No shared folder is in use, and none will be when the tests end."""
  monkeypatch.setattr(cache, "_published", {})
  monkeypatch.setattr(cache, "atexit", SimpleNamespace(register=lambda function: None))


def entry(text: str, size: int = 4000) -> bytes:
  return zlib.compress(text.encode() + random.Random(text).randbytes(size))


def fill(folder: Path, *names: str, writer: str = "") -> None:
  """Write entries as jax does."""
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / f"{name}-cache").write_bytes(entry(name + writer))


def whole(folder: Path) -> set[str]:
  """Name the entries of a folder of either kind, which must be whole."""
  files = [path for path in folder.iterdir() if not path.name.startswith((".", "began"))]
  found = {path.name: path.read_bytes() for path in files}
  for name, content in found.items():
    assert name.endswith(("-cache", "-cache.crc32"))
    if name.endswith(".crc32"):
      content, seal = content[:-4], content[-4:]
      assert zlib.crc32(content) == int.from_bytes(seal, "big")
    assert zlib.decompress(content)
  return {name.partition("-cache")[0] for name in found}


TORN = {
  "empty": lambda whole: b"",
  "begun": lambda whole: whole[:100],
  "half": lambda whole: whole[: len(whole) // 2],
  "one byte short": lambda whole: whole[:-1],
  "zeros": lambda whole: bytes(len(whole)),
  "a byte changed": lambda whole: whole[:500] + bytes([whole[500] ^ 1]) + whole[501:],
}


@pytest.mark.parametrize("damage", TORN)
def test_torn_entries_are_deleted(tmp_path, damage):
  fill(tmp_path, "a", "b", "c")
  (tmp_path / "b-cache").write_bytes(TORN[damage](entry("b")))
  cache.start(tmp_path)
  assert whole(tmp_path) == {"a", "c"}


def test_a_verified_entry_is_not_read_again(tmp_path, monkeypatch):
  fill(tmp_path, "a", "b")
  cache.start(tmp_path)
  read = []
  monkeypatch.setattr(cache, "is_whole", lambda content: read.append(content) or True)
  cache.start(tmp_path)
  assert read == []
  fill(tmp_path, "c")
  (tmp_path / "a-cache").write_bytes(b"torn since")
  cache.start(tmp_path)
  assert sorted(read) == sorted([entry("c"), b"torn since"])


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a-cache": 3}', b"\xff"])
def test_a_damaged_list_of_verified_entries_is_made_anew(tmp_path, content):
  fill(tmp_path, "a", "b")
  (tmp_path / "b-cache").write_bytes(b"")
  (tmp_path / cache.VERIFIED).write_bytes(content)
  cache.start(tmp_path)
  assert whole(tmp_path) == {"a"}
  assert b"a-cache" in (tmp_path / cache.VERIFIED).read_bytes()


class Zstandard:
  """Stands for the package, which need not be installed: whole is what ends with a dot."""

  class ZstdError(Exception):
    pass

  class ZstdDecompressor:
    def decompress(self, content):
      if not content.endswith(b"."):
        raise Zstandard.ZstdError("incomplete")


def test_zstandard_entries_are_verified_where_they_can_be_read(monkeypatch):
  monkeypatch.setitem(sys.modules, "zstandard", Zstandard)
  whole = cache.ZSTANDARD + b"..."
  assert cache.is_whole(whole) and not cache.is_whole(whole + b"?")


def test_entries_of_an_unknown_kind_stay(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "zstandard", None)
  for number, content in enumerate([cache.ZSTANDARD + b"...", b"some later kind"]):
    (tmp_path / f"{number}-cache").write_bytes(content)
  cache.start(tmp_path)
  assert len(list(tmp_path.glob("*-cache"))) == 2


def test_another_machine_gets_what_one_has_compiled(tmp_path, monkeypatch):
  shared, one, other = tmp_path / "shared", tmp_path / "one", tmp_path / "other"
  fill(one, "before")
  cache.start(one, shared)
  fill(one, "a", "b")
  (one / "torn-cache").write_bytes(entry("torn")[:50])
  assert cache.publish() == 3
  assert whole(shared) == {"before", "a", "b"}
  (one / "torn-cache").write_bytes(entry("torn"))  # jax was writing it
  assert (cache.publish(), cache.publish()) == (1, 0)
  fill(other, "own")
  cache.start(other, shared)
  assert whole(other) == {"own", "before", "a", "b", "torn"}
  monkeypatch.setattr(cache, "is_whole", lambda content: pytest.fail("it was verified"))
  cache.start(other)


def test_the_first_writer_wins(tmp_path):
  shared, one, other = tmp_path / "shared", tmp_path / "one", tmp_path / "other"
  cache.start(one, shared)
  cache.start(other, shared)
  fill(one, "a", writer="one")
  assert cache.publish() == 1
  fill(other, "a", writer="other")
  assert cache.publish() == 0
  assert (shared / "a-cache.crc32").read_bytes()[:-4] == entry("aone")
  assert (other / "a-cache").read_bytes() == entry("aother")


def test_a_torn_shared_entry_is_replaced(tmp_path):
  shared, local = tmp_path / "shared", tmp_path / "local"
  shared.mkdir()
  for name, content in {"a": b"", "b": bytes(4), "c": entry("c") + b"abcd"}.items():
    (shared / f"{name}-cache.crc32").write_bytes(content)
  cache.start(local, shared)
  assert whole(local) == whole(shared) == set()
  fill(local, "a", "b", "c")
  assert cache.publish() == 3
  assert whole(shared) == {"a", "b", "c"}


def test_the_newest_entries_are_copied_while_there_is_room(tmp_path, monkeypatch):
  shared, one, other = tmp_path / "shared", tmp_path / "one", tmp_path / "other"
  cache.start(one, shared)
  fill(one, *"abcd")
  cache.publish()
  for age, name in enumerate("badc"):
    os.utime(shared / f"{name}-cache.crc32", (1e9 - age, 1e9 - age))
  monkeypatch.setattr(cache, "MOST", 3 * len(entry("a")))
  cache.start(other, shared)
  assert whole(other) == {"a", "b"}
  fill(other, "c")
  assert cache.publish() == 0  # known to be there


def refuse(monkeypatch, folder: Path, code: int) -> None:
  """Let nobody, not even root, write more than a half of a file in a folder."""
  write = Path.write_bytes

  def refusing(path, content):
    if path.parent == folder:
      write(path, content[: len(content) // 2])
      raise OSError(code, os.strerror(code))
    return write(path, content)

  monkeypatch.setattr(Path, "write_bytes", refusing)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_shared_folder_that_cannot_be_written_costs_one_line(tmp_path, monkeypatch, caplog, code):
  shared, local = tmp_path / "shared", tmp_path / "local"
  cache.start(tmp_path / "before", shared)
  fill(tmp_path / "before", "a")
  cache.publish()
  refuse(monkeypatch, shared, code)
  cache.start(local, shared)
  assert whole(local) == {"a"}  # it can be read
  for name in "bc":
    with (local / f"{name}-cache").open("wb") as file:
      file.write(entry(name))
    assert cache.publish() == 0
  assert whole(shared) == {"a"}
  (line,) = caplog.messages
  assert line == f"compiled programs are not shared through {shared}: {os.strerror(code)}"


def test_a_file_in_place_of_the_shared_folder_costs_one_line(tmp_path, caplog):
  (tmp_path / "shared").write_text("")
  fill(tmp_path / "local", "a")
  cache.start(tmp_path / "local", tmp_path / "shared")
  assert cache.publish() == 0
  assert len(caplog.messages) == 1 and "Not a directory" in caplog.messages[0]


def test_a_full_local_disk_costs_one_line(tmp_path, monkeypatch, caplog):
  shared, local = tmp_path / "shared", tmp_path / "local"
  cache.start(tmp_path / "before", shared)
  fill(tmp_path / "before", "a")
  cache.publish()
  refuse(monkeypatch, local, errno.ENOSPC)
  cache.start(local, shared)
  assert whole(local) == set() and whole(shared) == {"a"}
  assert len(caplog.messages) == 1 and "No space left" in caplog.messages[0]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_systems_without_links_rename(tmp_path, monkeypatch, code):
  def link(source, target):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(os, "link", link)
  cache.start(tmp_path / "one", tmp_path / "shared")
  fill(tmp_path / "one", "a", "b")
  assert cache.publish() == 2
  cache.start(tmp_path / "other", tmp_path / "shared")
  assert whole(tmp_path / "other") == whole(tmp_path / "shared") == {"a", "b"}


def test_what_killed_processes_left_is_swept_after_a_day(tmp_path):
  shared, local = tmp_path / "shared", tmp_path / "local"
  for folder in (shared, local):
    folder.mkdir()
    for name, age in (("old", cache.DAY + 60), ("new", 60)):
      (folder / f".{name}.part").write_bytes(b"torn")
      os.utime(folder / f".{name}.part", (time.time() - age,) * 2)
  cache.start(local, shared)
  for folder in (shared, local):
    assert [path.name for path in folder.glob("*.part")] == [".new.part"]


# As a unit does: compile (an entry is written in place), publish, compile again. Several processes
# share a local folder, as tasks on one node do.
WORKER = """
import random, sys, time, zlib
from pathlib import Path
from jaxmu.engine import compilation_cache as cache
local, shared, number, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
local.mkdir(parents=True, exist_ok=True)
(local / f"began{number}").touch()
cache.start(local, shared)
order = list(range(count))
random.Random(number).shuffle(order)
for turn, k in enumerate(order):
  path = local / f"jit_{k:03}-cache"
  if not path.exists():
    whole = zlib.compress(f"{k} ".encode() + random.Random(k).randbytes(50_000) + number.encode())
    with path.open("wb") as file:
      for start in range(0, len(whole), 20_000):
        file.write(whole[start : start + 20_000])
        file.flush()
  if turn % 10 == 9:
    cache.publish()
    cache.start(local, shared)
print("done")
"""


def work(tmp_path: Path, node: str, number: int, count: int) -> subprocess.Popen:
  command = [sys.executable, "-c", WORKER, tmp_path / node, tmp_path / "shared", str(number)]
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  return subprocess.Popen([*command, str(count)], env=environment, stdout=subprocess.PIPE)


def check(path: Path) -> None:
  """A shared entry is one that a process has written: not torn, not mixed, and its own."""
  content = path.read_bytes()
  text = zlib.decompress(content[:-4])
  number, _, rest = text.partition(b" ")
  assert zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "big")
  assert int(number) == int(path.name[4:7])
  assert rest[:50_000] == random.Random(int(number)).randbytes(50_000) and len(rest) == 50_001


def test_processes_of_several_nodes_see_whole_entries_only(tmp_path):
  count, seen = 60, 0
  every = [work(tmp_path, f"node{k % 3}", k, count) for k in range(8)]
  while any(process.poll() is None for process in every):
    for path in (tmp_path / "shared").glob("*.crc32"):
      check(path)
      seen += 1
    time.sleep(0.05)
  assert seen and [process.communicate()[0] for process in every] == [b"done\n"] * 8
  shared = sorted((tmp_path / "shared").iterdir())
  assert [path.name for path in shared] == [f"jit_{k:03}-cache.crc32" for k in range(count)]
  for path in shared:
    check(path)
  for node in ("node0", "node1", "node2"):
    cache.start(tmp_path / node, tmp_path / "shared")
    assert len(whole(tmp_path / node)) == count


def test_killed_processes_leave_nothing_torn(tmp_path):
  count, left = 60, set()
  for kill in range(8):
    process = work(tmp_path, "node", kill, count)
    began = time.monotonic()
    while not (tmp_path / "node" / f"began{kill}").exists():
      assert time.monotonic() - began < 60
      time.sleep(0.002)
    time.sleep(random.Random(kill).uniform(0, 0.1))
    process.kill()
    process.communicate()
    left |= {path for path in tmp_path.glob("*/.*.part")}
    for path in (tmp_path / "shared").glob("*.crc32"):
      check(path)
  assert work(tmp_path, "node", 0, count).communicate()[0] == b"done\n"
  for path in left:
    if path.exists():
      os.utime(path, (0, 0))
  cache.start(tmp_path / "node", tmp_path / "shared")
  assert len(whole(tmp_path / "node")) == len(whole(tmp_path / "shared")) == count
