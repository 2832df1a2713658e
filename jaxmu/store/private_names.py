"""Private names beside a final one, for what is not whole yet, and what killed processes left.

A private name is `.NAME.HOST.PID.RANDOM`. HOST stands for the host name, its boot and its space of
process numbers: only where all three are ours does a number say whether its process lives.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from jaxmu.errors import StoreError

DAY = 24 * 3600.0  # seconds after which what another host began counts as left behind
NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_SHAPE = re.compile(r"\.(?P<name>.+)\.(?P<host>[\w-]+)\.(?P<pid>\d+)\.[0-9a-f]{12}")


def private(path: Path) -> Path:
  """Return a name beside `path` that no other process, thread or call is given."""
  return path.with_name(f".{path.name}.{host()}.{os.getpid()}.{secrets.token_hex(6)}")


@cache
def host() -> str:
  """Name this host in letters, digits, `_` and `-`, other after each boot and in each container."""
  parts = [socket.gethostname()]
  with suppress(OSError):  # both are Linux's; elsewhere the name must do
    parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
    parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
  shown = re.sub(r"[^A-Za-z0-9-]", "_", parts[0])[:40]
  return f"{shown}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:8]}"


def sweep(folder: Path, name: str | None = None) -> None:
  """Delete what lies under private names of `name` (of any, without one) and is nobody's any more.

  That is: its process was on this host and is gone, or it is a day old and of another host.
  """
  for leftover in _leftovers(folder, name):
    with suppress(OSError):  # another process sweeps, too
      shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _leftovers(folder: Path, name: str | None) -> list[Path]:
  prefix = "." if name is None else f".{name}."
  try:
    names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(prefix)]
  except OSError:
    return []
  found = [match for each in names if (match := _SHAPE.fullmatch(each))]
  return [
    folder / match[0]
    for match in found
    if name in (None, match["name"]) and _abandoned(folder / match[0], match)
  ]


def _abandoned(path: Path, match: re.Match[str]) -> bool:
  if match["host"] == host():
    return not _alive(int(match["pid"]))
  try:
    inside = path.iterdir() if path.is_dir() else ()
    newest = max(each.stat().st_mtime for each in (path, *inside))
  except OSError:  # gone, or changing: somebody's
    return False
  return time.time() - newest > DAY


def _alive(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except (PermissionError, OverflowError):  # another user's; a number that no process has
    pass
  return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
  """Turn what the system says when `path` cannot be written into a StoreError of one line."""
  try:
    yield
  except OSError as error:
    reason = error.strerror or str(error).strip().partition("\n")[0] or type(error).__name__
    raise StoreError(f"cannot write {path}: {reason}") from None


def sync(path: Path) -> None:
  """Have a file or folder survive a power cut; file systems that cannot sync folders may pass."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError as error:
    if error.errno not in NO_SYNC or not path.is_dir():
      raise
  finally:
    os.close(descriptor)
