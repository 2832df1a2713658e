"""What became of the units of a run that were begun and are not finished, from files alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxmu.errors import StoreError
from jaxmu.store import typed_json
from jaxmu.store.groups import ALIVE, MARKER, SignOfLife, folders, text
from jaxmu.store.unit_attempts import FAILED, INTERRUPTED, read

STALE = 120.0  # seconds without a sign of life after which a unit's process may be dead
QUIET = 600.0  # the same before its first epoch has ended: programs are compiled until then
RUNNING, SILENT, STOPPED = "running", "stale", "stopped"
STATES = (RUNNING, SILENT, FAILED, STOPPED)


@dataclass(frozen=True)
class UnitStatus:
  """A unit that was begun and is not finished.

  Attributes:
    state: "running"; "stale", for which no sign of life came for three of its epochs; "failed", of
      an error; "stopped", where it can be gone on with.
    members: those that the study asks for and lacks.
    phase, epoch, epochs: the last epoch that was heard of; "" and 0 before the first.
    seconds_ago: since the last sign of life.
    attempts, crashes, error: as in `unit_attempts.UnitAttempts`; 0 and "" where nothing was noted.
  """

  unit: str
  state: str
  members: int
  host: str
  process: int
  job: str
  phase: str
  epoch: int
  epochs: int
  seconds_ago: float
  attempts: int
  crashes: int
  error: str


def begun(path: Path, lacking: Mapping[str, set[str]], now: float) -> Iterator[UnitStatus]:
  """Yield the units of a run that were begun and hold members that are lacking.

  Args:
    lacking: stage -> coordinates of the members that no finished group holds, as text.
    now: seconds since 1970.
  """
  for stage in folders(path / "legs"):
    for name in folders(path / "legs" / stage):
      folder = path / "legs" / stage / name
      if lacking.get(stage) and not (path / "stages" / stage / name / MARKER).is_file():
        unit = _unit(folder, f"{stage}/{name}", lacking[stage], now)
        if unit is not None:
          yield unit


def _unit(folder: Path, name: str, lacking: set[str], now: float) -> UnitStatus | None:
  known, sign = read(folder), _sign(folder)
  if known is None and sign is None:
    return None
  if known is not None:
    members = len(lacking & {text(at) for at in known.members})
    if not members:  # they have come in other units meanwhile, or are not asked for any more
      return None
  else:
    members = sign.members if sign else 0
  started = known.time if known else 0.0
  heard = max(started, sign.time if sign else 0.0)
  limit = max(STALE, 3 * sign.leg_seconds) if sign and sign.time >= started else QUIET
  state = RUNNING if now - heard <= limit else SILENT
  if known and known.ended:
    state = STOPPED if known.ended == INTERRUPTED else known.ended
  who = known or sign
  return UnitStatus(
    unit=name,
    state=state,
    members=members,
    host=who.host if who else "",
    process=who.process if who else 0,
    job=known.job if known else "",
    phase=sign.phase if sign else "",
    epoch=sign.epoch if sign else 0,
    epochs=sign.epochs if sign else 0,
    seconds_ago=round(max(now - heard, 0.0), 1),
    attempts=known.begun if known else 0,
    crashes=known.crashes if known else 0,
    error=known.error if known else "",
  )


def _sign(folder: Path) -> SignOfLife | None:
  try:
    return typed_json.load(SignOfLife, folder / ALIVE)
  except StoreError:  # not yet there, or gone meanwhile
    return None
