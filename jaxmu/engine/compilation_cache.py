"""The folder of compiled programs: mended when a process starts, shared among machines.

jax writes an entry in place. A process that is killed meanwhile or a full disk leaves a torn one,
which every later process warns about and compiles again, as jax never replaces what exists. So
entries are verified once, and torn ones deleted.

Machines of a cluster each have a folder on a disk of their own, as the file system that they share
is slow with small files, and jax could be seen writing there. `start` fills it from the shared
folder, `publish` copies what is new back. An entry is copied whole: verified, written under a
private name, then linked to its own, so that readers see all of it or none. Of several writers the
first one wins. There are no locks, and a process may be killed at any point. In the shared folder
each ends with its CRC-32, which is checked in a tenth of the time that decompressing takes.
"""

import atexit
import contextlib
import errno
import itertools
import json
import logging
import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

SUFFIX = "-cache"  # of jax's entries
SEALED = ".crc32"  # of such an entry, followed by four bytes, in a shared folder
PRIVATE = ".part"  # of what is not whole yet; such names begin with a dot
VERIFIED = ".verified.json"  # name -> size and time of entries that were whole
ZSTANDARD = b"\x28\xb5\x2f\xfd"
DAY = 24 * 3600.0  # seconds after which a private file counts as left behind
MOST = 2**30  # bytes copied from a shared folder, the newest entries first
THREADS = 8  # for a file server's latency
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
T = TypeVar("T")
Stamp = list[int]  # size, and time of the last change in nanoseconds
_published: dict[tuple[Path, Path], set[str]] = {}  # (local, shared) -> names that are there
_guard = threading.Lock()
_log = logging.getLogger(__name__)


def start(local: Path, shared: Path | None = None) -> None:
  """Delete torn entries of the folder `local`, and copy what it lacks from `shared`.

  From then on `publish` copies new entries to `shared`, and is called when the process ends. Where
  a folder cannot be read or written, one line says so, and programs are compiled instead.
  """
  known = _read_stamps(local)
  stamps = mend(local, known)
  if shared is not None:
    try:
      stamps |= _seed(local, shared)
    except OSError as error:
      _note(shared, error)
  if stamps != known:
    with contextlib.suppress(OSError):  # verified again the next time
      _write_new(local / VERIFIED, json.dumps(stamps).encode(), replace=True)


def publish() -> int:
  """Copy entries that are new since the last call to the shared folder; return how many.

  Costs a listing of the local folder where there are none. Never fails: where the shared folder
  cannot be written, one line says so, and later calls do nothing.
  """
  with _guard:
    return sum(_publish(local, shared) for local, shared in list(_published))


def mend(folder: Path, known: dict[str, Stamp] | None = None) -> dict[str, Stamp]:
  """Delete torn entries and what killed processes left; return stamps of all whole entries.

  Entries with the stamp that `known` has of them are not read.
  """
  try:
    stamps = {name: stamp for name in _names(folder) if (stamp := _stamp(folder / name))}
  except OSError:  # jax says itself that it cannot use the folder
    return {}
  unknown = [name for name, stamp in stamps.items() if stamp != (known or {}).get(name)]
  for name, found in zip(unknown, _parallel(lambda name: _verify(folder / name), unknown)):
    if not found:
      del stamps[name]
  return stamps


def is_whole(entry: bytes) -> bool:
  """Tell whether an entry can be decompressed; one of a kind not known here passes.

  jax compresses with zstandard if that is installed, else with zlib. After a power cut files may
  hold zeros.
  """
  if entry.startswith(ZSTANDARD):
    return _is_whole_zstandard(entry)
  if entry[:1] != b"\x78":  # zlib
    return any(entry[:4])
  try:
    zlib.decompress(entry)
  except zlib.error:
    return False
  return True


def _is_whole_zstandard(entry: bytes) -> bool:
  try:
    import zstandard
  except ImportError:  # nor can jax read it here, which has another name for it then
    return True
  try:
    zstandard.ZstdDecompressor().decompress(entry)
  except zstandard.ZstdError:
    return False
  return True


def _seed(local: Path, shared: Path) -> dict[str, Stamp]:
  """Copy entries that `local` lacks, the newest first; return their stamps."""
  there = {name.removesuffix(SEALED) for name in _names(shared, SUFFIX + SEALED)}
  local.mkdir(parents=True, exist_ok=True)
  names = sorted(there - _names(local))
  stamps = _parallel(lambda name: _stamp(shared / (name + SEALED)), names)
  found = [(name, stamp) for name, stamp in zip(names, stamps) if stamp]
  found.sort(key=lambda entry: entry[1][1], reverse=True)
  sizes = itertools.accumulate(size for _, (size, _) in found)
  taken = [name for (name, _), size in zip(found, sizes) if size <= MOST]
  copies = dict(zip(taken, _parallel(lambda name: _take(name, local, shared), taken)))
  if not _published:
    atexit.register(publish)
  gone = {name for name, copy in copies.items() if not (copy or (local / name).exists())}
  _published[local, shared] = there - gone
  return {name: copy for name, copy in copies.items() if copy}


def _take(name: str, local: Path, shared: Path) -> Stamp | None:
  """Copy an entry of the shared folder; delete it there if it is torn."""
  source = shared / (name + SEALED)
  try:
    content = source.read_bytes()
  except OSError:  # deleted meanwhile, or not for this user
    return None
  entry, seal = content[:-4], content[-4:]
  if entry and seal == _crc32(entry):
    return _write_new(local / name, entry)
  with contextlib.suppress(OSError):
    source.unlink()
  return None


def _publish(local: Path, shared: Path) -> int:
  there, count = _published[local, shared], 0
  try:
    for name in sorted(_names(local) - there):
      try:
        entry = (local / name).read_bytes()
      except OSError:  # deleted meanwhile
        continue
      if is_whole(entry):  # else jax is writing it: the next call will see
        shared.mkdir(parents=True, exist_ok=True)
        count += _write_new(shared / (name + SEALED), entry + _crc32(entry)) is not None
        there.add(name)
  except OSError as error:
    del _published[local, shared]
    _note(shared, error)
  return count


def _crc32(entry: bytes) -> bytes:
  return zlib.crc32(entry).to_bytes(4, "big")


def _write_new(path: Path, content: bytes, replace: bool = False) -> Stamp | None:
  """Write a file whole or not at all; return its stamp, None where it was there before."""
  private = path.with_name(f".{secrets.token_hex(8)}{PRIVATE}")
  try:
    private.write_bytes(content)
    stamp = _stamp(private)
    try:
      if replace:
        private.replace(path)
      else:
        os.link(private, path)
    except FileExistsError:
      return None
    except OSError as error:
      if error.errno not in NO_LINKS:
        raise
      private.replace(path)
    return stamp
  finally:
    private.unlink(missing_ok=True)


def _names(folder: Path, suffix: str = SUFFIX) -> set[str]:
  """List a folder's entries; delete private files in it that are a day old."""
  found = set()
  try:
    with os.scandir(folder) as listed:
      for each in listed:
        if each.name.startswith("."):
          _sweep(folder / each.name)
        elif each.name.endswith(suffix):
          found.add(each.name)
  except FileNotFoundError:
    pass
  return found


def _sweep(path: Path) -> None:
  if path.name.endswith(PRIVATE):
    with contextlib.suppress(OSError):
      if time.time() - path.stat().st_mtime > DAY:
        path.unlink()


def _verify(path: Path) -> bool:
  """Tell whether an entry is whole; delete it if not."""
  try:
    if is_whole(path.read_bytes()):
      return True
    path.unlink()
  except OSError:  # deleted meanwhile, or another user's
    pass
  return False


def _stamp(path: Path) -> Stamp | None:
  try:
    found = path.stat()
  except OSError:
    return None
  return [found.st_size, found.st_mtime_ns]


def _read_stamps(folder: Path) -> dict[str, Stamp]:
  try:
    found = json.loads((folder / VERIFIED).read_bytes())
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _parallel(function: Callable[[str], T], names: Sequence[str]) -> list[T]:
  """Apply a function that waits for files to each name."""
  if len(names) < 2:
    return [function(name) for name in names]
  with ThreadPoolExecutor(min(THREADS, len(names))) as pool:
    return list(pool.map(function, names))


def _note(shared: Path, error: OSError) -> None:
  reason = error.strerror or str(error)
  _log.warning("compiled programs are not shared through %s: %s", shared, reason)
