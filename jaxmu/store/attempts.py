"""Folders that several processes may try to make: attempts, of which one is committed.

An attempt is filled under a private name and renamed to its final one. A rename onto a folder that
holds something fails, so the first attempt wins and others are thrown away: no lock is needed for
right results. `lock` only saves the time of a second attempt.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from jaxmu.store.private_names import private, sweep, sync, writing

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # what a rename onto a folder with entries says
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
TRIES = 100  # at making a lock whose folder vanishes meanwhile
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
NO_LINKS = (
  *(errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK),
  *(errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
)


def attempt_folder(final: Path) -> Path:
  """Make an empty folder beside `final` that is this attempt's alone.

  Raises:
    StoreError: it cannot be made.
  """
  attempt = private(final)
  with writing(final):
    attempt.mkdir(parents=True)
  return attempt


def commit_folder(attempt: Path, final: Path) -> bool:
  """Give an attempt its final name, synced to disk; False where another one has it already.

  The attempt is gone in either case.

  Raises:
    StoreError: it cannot be written (and stays, to be swept later).
  """
  with writing(final):
    for folder, _, names in os.walk(attempt):
      for name in names:
        sync(Path(folder, name))
      sync(Path(folder))
    if not renamed(attempt, final):
      shutil.rmtree(attempt, ignore_errors=True)
      return False
    sync(final.parent)
  return True


def renamed(source: Path, final: Path) -> bool:
  """Rename a folder; False where `final` is a folder that holds something."""
  try:
    source.rename(final)
  except OSError as error:
    if error.errno in TAKEN:
      return False
    raise
  return True


def sweep_attempts(final: Path) -> None:
  """Delete attempts at `final` whose process is gone, or which a day ago began on another host."""
  sweep(final.parent, final.name)


def sweep_folder(folder: Path) -> None:
  """Delete such attempts at anything in `folder`."""
  sweep(folder)


def hardlink_tree(source: Path, target: Path) -> None:
  """Fill the folder `target` with the files of `source`; bytes are shared where they can be.

  Shared files must only ever be replaced, as `files.replace` does, never be changed in place.

  Raises:
    StoreError: the target cannot be written.
  """
  with writing(target):
    for folder, _, names in os.walk(source):
      place = target / Path(folder).relative_to(source)
      place.mkdir(parents=True, exist_ok=True)
      for name in names:
        _link(Path(folder, name), place / name)


def _link(source: Path, target: Path) -> None:
  try:
    os.link(source, target)
  except OSError as error:
    if error.errno not in NO_LINKS:
      raise
    shutil.copyfile(source, target)


@contextmanager
def lock(path: Path) -> Iterator[bool]:
  """Hold the file `path` as a lock if it is free, and say whether; a killed process releases it.

  A file system without locks counts as free.

  Raises:
    StoreError: the file cannot be opened or locked for another reason.
  """
  while True:
    with writing(path):
      file = _opened(path)
    with file:
      with writing(path):
        free = _taken(file)
      if free and not _still_there(file, path):
        continue  # whoever held it has removed it: others would lock the next file of this name
      yield free
      return


def _opened(path: Path) -> IO[str]:
  """Open a lock whose folder other processes remove once they are done with it."""
  for _ in range(TRIES):
    with suppress(FileNotFoundError, FileExistsError):
      path.parent.mkdir(parents=True, exist_ok=True)
      return path.open("a")
  return path.open("a")


def _still_there(file: IO[str], path: Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  except FileNotFoundError:
    return False


def _taken(file: IO[str]) -> bool:
  import fcntl  # absent on Windows, where jaxmu is not tested

  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in HELD:
      return False
    if error.errno not in NO_LOCKS:
      raise
  return True
