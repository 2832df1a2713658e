"""How far a run is, from files alone: nothing that computes is imported, every file is read once.

Markers say what is done, `members.json` what is asked for, `attempts.json` and `alive.json` beside
the legs what became of the rest. Nothing is verified: that is for whoever reads results.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from jaxmu.errors import StoreError
from jaxmu.store import files
from jaxmu.store.groups import MARKER, MEMBERS, REPAIR, damaged, folders, text, without_round
from jaxmu.store.run import CONFIG, MANIFEST, RESULTS
from jaxmu.store.unit_attempts import FAILED
from jaxmu.store.unit_status import RUNNING, SILENT, UnitStatus, begun

BUSY = (RUNNING, SILENT, FAILED)


@dataclass(frozen=True)
class StageStatus:
  """Members of a stage that the study asks for now, and seconds of devices.

  Attributes:
    done, running, stale, failed, waiting: how many there are of each; those of stopped units wait.
    non_finite: those done whose training failed.
    units: finished groups that hold some of them.
    spent: what those took, times their devices; borrowed ones took it elsewhere.
    left: what the others will take if each is as a finished one of its method; None for none.
  """

  stage: str
  members: int
  done: int
  running: int
  stale: int
  failed: int
  waiting: int
  non_finite: int
  units: int
  spent: float
  left: float | None


@dataclass(frozen=True)
class RunStatus:
  """A run.

  Attributes:
    platform: of its devices: "cpu", "gpu", "tpu".
    devices: how many a unit has; 0 where none is finished.
    finished: its results are written.
  """

  path: str
  name: str
  study: str
  platform: str
  devices: float
  finished: bool
  stages: tuple[StageStatus, ...]
  units: tuple[UnitStatus, ...]

  def total(self) -> StageStatus:
    """Return the sum over the stages; what is left of stages without an estimate is not in it."""
    return total(self.stages, "total")


class _Wanted(NamedTuple):
  """A member that the study asks for; those that are alike in everything share an identity."""

  at: str
  identity: str


class _Group(NamedTuple):
  """What counts of a finished group."""

  failures: Mapping[str, str]  # by the identities of its members
  seconds: float
  devices: int
  borrowed: bool


def runs_in(path: str | Path) -> list[Path]:
  """Return a run, or all runs in a folder.

  Raises:
    StoreError: there are none.
  """
  path = Path(path)
  if (path / CONFIG).is_file():
    return [path]
  found = [path / name for name in folders(path) if (path / name / CONFIG).is_file()]
  if not found:
    raise StoreError(f"{path} is neither a run (it has no {CONFIG}) nor a folder that holds some")
  return found


def status(path: Path, now: float | None = None) -> RunStatus:
  """Say how far a run is.

  Args:
    now: seconds since 1970; the present where None.

  Raises:
    StoreError: a file is damaged.
  """
  expected = _expected(path)
  done = {stage: _groups(path, stage, wanted) for stage, wanted in expected.items()}
  lacking = {stage: _lacking(wanted, done[stage]) for stage, wanted in expected.items()}
  units = tuple(begun(path, lacking, time.time() if now is None else now))
  each = _seconds_of_a_member(expected, done)
  stages = [_stage(s, expected[s], done[s], lacking[s], units, each(s)) for s in expected]
  devices = [group.devices for groups in done.values() for group in groups]
  manifest, config = files.read_json(path / MANIFEST), files.read_json(path / CONFIG)
  return RunStatus(
    path=str(path),
    name=path.absolute().name,
    study=str(_entry(config, "config", "study")),
    platform=str(_entry(manifest, "device", "platform")),
    devices=sum(devices) / len(devices) if devices else 0.0,
    finished=(path / RESULTS).is_file(),
    stages=tuple(stages),
    units=units,
  )


def total(stages: Sequence[StageStatus], name: str) -> StageStatus:
  """Add up stages, or runs."""
  known = [field.name for field in fields(StageStatus) if field.name not in ("stage", "left")]
  sums = {field: sum(getattr(stage, field) for stage in stages) for field in known}
  left = [stage.left for stage in stages if stage.left is not None]
  return StageStatus(stage=name, left=sum(left) if left else None, **sums)


def _expected(path: Path) -> dict[str, list[_Wanted]]:
  """Return stage -> the members that the study asks for."""
  if not (path / MEMBERS).is_file():
    if any(folders(path / "stages" / stage) for stage in folders(path / "stages")):
      raise StoreError(f"{path / MEMBERS} does not exist; run the same command again to make it")
    return {}
  found = files.read_json(path / MEMBERS)
  try:
    return {
      stage: [_Wanted(text(member["at"]), member["identity"]) for member in members]
      for stage, members in found.items()
      if stage != files.SEAL
    }
  except (AttributeError, KeyError, TypeError):
    raise files.damaged(path / MEMBERS, "it does not list members") from None


def _groups(path: Path, stage: str, wanted: Sequence[_Wanted]) -> list[_Group]:
  """Return the finished groups that hold members of a study."""
  found, identities = [], {member.identity for member in wanted}
  for name in folders(path / "stages" / stage):
    group = _group(path / "stages" / stage / name / MARKER)
    if not identities.isdisjoint(group.failures):
      found.append(group)
  return found


def _lacking(wanted: Sequence[_Wanted], groups: Sequence[_Group]) -> set[str]:
  """Return the coordinates of the members that no group holds."""
  done = {identity for group in groups for identity in group.failures}
  return {member.at for member in wanted if member.identity not in done}


def _group(path: Path) -> _Group:
  try:
    marker = files.read_json(path)
  except StoreError as error:
    raise StoreError(f"{str(error).rpartition(';')[0]}; {REPAIR}") from None
  try:
    cost = marker["cost"]
    seconds = sum(cost.get(name, 0.0) for name in ("wall_s", "compile_s", "predict_s"))
    failures = {member["identity"]: member["failure"] for member in marker["members"]}
    return _Group(failures, seconds, marker.get("devices", 1), bool(marker.get("borrowed_from")))
  except (AttributeError, KeyError, TypeError):
    raise damaged(path, "it describes no group") from None


def _seconds_of_a_member(
  expected: Mapping[str, Any], done: Mapping[str, Sequence[_Group]]
) -> Callable[[str], float | None]:
  """Return a function: stage -> device seconds of one of its members; None where nothing says."""
  of_method: dict[str, list[_Group]] = {}
  for stage in expected:
    of_method.setdefault(_method(stage), []).extend(done[stage])

  def each(stage: str) -> float | None:
    groups = done[stage] or of_method[_method(stage)]
    members = sum(len(group.failures) for group in groups)
    seconds = sum(group.seconds * group.devices for group in groups)
    return seconds / members if members else None

  return each


def _method(stage: str) -> str:
  """Return the method of a stage, of which a search has batches and a request rounds."""
  return without_round(stage.partition(".")[0])


def _stage(
  stage: str,
  expected: Sequence[_Wanted],
  groups: Sequence[_Group],
  lacking: set[str],
  units: Sequence[UnitStatus],
  each: float | None,
) -> StageStatus:
  own = [unit for unit in units if unit.unit.partition("/")[0] == stage]
  count = {state: sum(unit.members for unit in own if unit.state == state) for state in BUSY}
  failures = {identity: said for group in groups for identity, said in group.failures.items()}
  ahead = sum(unit.members * _share(unit) for unit in own if unit.state == RUNNING)
  return StageStatus(
    stage=stage,
    members=len(expected),
    done=len(expected) - len(lacking),
    running=count[RUNNING],
    stale=count[SILENT],
    failed=count[FAILED],
    waiting=max(len(lacking) - sum(count.values()), 0),
    non_finite=sum(bool(failures.get(member.identity)) for member in expected),
    units=len(groups),
    spent=sum(group.seconds * group.devices for group in groups if not group.borrowed),
    left=0.0 if not lacking else None if each is None else max(len(lacking) - ahead, 0) * each,
  )


def _share(unit: UnitStatus) -> float:
  """Return which share of its epochs a unit has behind it, where it has one phase."""
  return unit.epoch / unit.epochs if unit.epochs else 0.0


def _entry(value: Any, *names: str) -> Any:
  """Return a nested entry of JSON; "" where there is none."""
  for name in names:
    value = value.get(name, "") if isinstance(value, dict) else ""
  return value
