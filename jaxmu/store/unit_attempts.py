"""How often the work on an unfinished unit was begun, and how it ended.

`attempts.json` lies beside the unit's legs and vanishes with them once it is finished. It says what
a queue of jobs cannot: whether trying again gets further, and what went wrong.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from jaxmu.errors import StoreError, UserError, short
from jaxmu.store import files, typed_json
from jaxmu.store.groups import ATTEMPTS, At, folders

MOST = 3  # crashes in a row, without a leg in between, after which a unit is not tried again
FAILED, INTERRUPTED = "failed", "interrupted"
_LEG = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class UnitAttempts:
  """Attempts at an unfinished unit, as the last one left it.

  Attributes:
    members: coordinates of the unit's members.
    begun: attempts so far.
    crashes: those in a row that ended by an error, or without a word, and saved no new leg.
    ended: how the last one ended, "failed" or "interrupted"; "" while it runs, or where it died.
    error: one line of the last error; "" where there was none, or a process died.
    leg: the saved leg that the last attempt began with; "" for none.
    job: of a cluster's queue; "" outside one.
    time: when it began, in seconds since 1970.
  """

  members: tuple[Mapping[str, int], ...]
  begun: int
  crashes: int
  ended: str
  error: str
  leg: str
  host: str
  process: int
  job: str
  time: float


@contextmanager
def noted(folder: Path, members: Sequence[At]) -> Iterator[None]:
  """Note that an attempt at a unit begins, and how it ends where it does not finish the unit.

  What asks a process to stop is no crash. A file that cannot be written is done without.

  Args:
    folder: where the legs of the unit lie.
  """
  now = _begin(folder, members)
  _write(folder, now)
  try:
    yield
  except Exception as error:
    crashes = now.crashes + 1 if now.leg == latest_leg(folder) else 0
    _write(folder, replace(now, ended=FAILED, error=error_line(error), crashes=crashes))
    raise
  except BaseException:
    _write(folder, replace(now, ended=INTERRUPTED))
    raise


def read(folder: Path) -> UnitAttempts | None:
  """Return the attempts at a unit; None where there were none, or nobody can read them."""
  try:
    return typed_json.load(UnitAttempts, folder / ATTEMPTS)
  except StoreError:
    return None


def refuse_hopeless(folder: Path, unit: str) -> None:
  """Raise UserError where a unit crashed so often in a row that another attempt would as well."""
  known = read(folder)
  if known is None or (crashes := _crashes(folder, known)) < MOST:
    return
  said = known.error or "its process died without a word: killed, or out of memory"
  raise UserError(
    f"{unit} crashed {crashes} times in a row without getting further, at last on {known.host} "
    f"({said}); delete {folder / ATTEMPTS} to try it again"
  )


def latest_leg(folder: Path) -> str:
  """Name the last saved leg of a unit; "" for none."""
  legs = [match for name in folders(folder) if (match := _LEG.fullmatch(name))]
  return max(legs, key=lambda match: (int(match[1]), int(match[2])))[0] if legs else ""


def job_name() -> str:
  """Name the job of a cluster's queue in which this process runs; "" outside one."""
  known = os.environ.get
  if known("SLURM_ARRAY_JOB_ID") and known("SLURM_ARRAY_TASK_ID"):
    return f"{known('SLURM_ARRAY_JOB_ID')}_{known('SLURM_ARRAY_TASK_ID')}"
  if number := known("SLURM_JOB_ID"):
    return number
  index = known("JOB_COMPLETION_INDEX")  # of Kubernetes, whose host name is that of the pod
  return f"index {index}" if index else ""


def error_line(error: BaseException) -> str:
  """Write an error on one line: what a user can do something about as it is told, else its type."""
  if isinstance(error, UserError):
    return short(str(error))
  text = short(str(error))
  return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _begin(folder: Path, members: Sequence[At]) -> UnitAttempts:
  before = read(folder)
  return UnitAttempts(
    members=tuple(dict(at) for at in members),
    begun=1 if before is None else before.begun + 1,
    crashes=0 if before is None else _crashes(folder, before),
    ended="",
    error="" if before is None else before.error,
    leg=latest_leg(folder),
    host=socket.gethostname(),
    process=os.getpid(),
    job=job_name(),
    time=time.time(),
  )


def _crashes(folder: Path, known: UnitAttempts) -> int:
  """Count crashes in a row; an attempt that never said how it ended was one."""
  if known.ended == FAILED:
    return known.crashes
  if known.leg != latest_leg(folder):
    return 0
  return known.crashes + (known.ended != INTERRUPTED)


def _write(folder: Path, now: UnitAttempts) -> None:
  with suppress(StoreError):
    files.write_json(folder / ATTEMPTS, now, sync=False)
