"""What a finished group of members says about itself: the form of its marker, read strictly."""

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxmu.errors import StoreError
from jaxmu.store import typed_json

MARKER, MEMBERS, SIZE = "marker.json", "members.json", ".size.json"
ALIVE, ATTEMPTS, VARIABLES = "alive.json", "attempts.json", "variables"
ROUND = "@"  # between a method and the number of its round, in the name of a stage
REPAIR = "run the same command with --repair, which makes its members anew"
At = Mapping[str, int]
Where = At | Sequence[At] | None


@dataclass(frozen=True)
class MemberRecord:
  """One member of a group.

  Attributes:
    at: its coordinates, such as {"seed": 3}.
    identity: hash of all that decides its numbers.
    failure: "" or the steps in which it was non-finite.
    passes: equivalent sample-passes that it cost.
    row: what was measured when it was finished.
  """

  at: Mapping[str, int]
  identity: str
  failure: str
  passes: float
  row: Mapping[str, Any]


@dataclass(frozen=True)
class Cost:
  """Seconds that groups of members took, all their members together, and steps of one member."""

  models: int = 0
  wall_s: float = 0.0
  compile_s: float = 0.0
  predict_s: float = 0.0
  passes: float = 0.0
  steps: int = 0

  def plus(self, other: "Cost") -> "Cost":
    """Return the cost of both."""
    return Cost(
      self.models + other.models,
      self.wall_s + other.wall_s,
      self.compile_s + other.compile_s,
      self.predict_s + other.predict_s,
      self.passes + other.passes,
      max(self.steps, other.steps),
    )


def added(costs: Iterable[Cost]) -> Cost:
  """Add up costs."""
  return functools.reduce(Cost.plus, costs, Cost())


@dataclass(frozen=True)
class GroupRecord:
  """marker.json: what a finished group holds.

  Attributes:
    files: size and SHA-256 by path.
    borrowed_from: the run that trained it; "" where this one did.
    devices: how many its members were laid out on.
    job: of a cluster's queue; "" outside one.
  """

  stage: str
  group: str
  members: tuple[MemberRecord, ...]
  cost: Cost
  files: Mapping[str, tuple[int, str]]
  host: str = ""
  borrowed_from: str = ""
  devices: int = 1
  job: str = ""


@dataclass(frozen=True)
class CurveRow:
  """One member of a group in one epoch.

  `loss` and `accuracy` are means over the `steps` that the member took; `epoch` counts from 1.
  """

  member: int
  phase: str
  epoch: int
  steps: int
  loss: float
  accuracy: float
  learning_rate: float


@dataclass(frozen=True)
class LegRecord:
  """Metadata of a saved leg of an unfinished group, beside the arrays of `observations.Snapshot`.

  Attributes:
    phase, epoch, seconds, failures, targets: as in the snapshot.
    identity: hash of the identities of the group's members.
    curves: rows of its members so far.
  """

  phase: int
  epoch: int
  seconds: float
  failures: tuple[str, ...]
  targets: tuple[int, ...]
  identity: str
  curves: tuple[CurveRow, ...]


@dataclass(frozen=True)
class SignOfLife:
  """Who works on an unfinished group, and how far that was when it last said so.

  Attributes:
    time: seconds since 1970.
    leg_seconds: wall time of the last epoch.
  """

  host: str
  process: int
  time: float
  phase: str
  epoch: int
  epochs: int
  members: int
  leg_seconds: float


@dataclass(frozen=True)
class GroupSize:
  """How many members of a stage fit into memory together."""

  members: int


@dataclass(frozen=True)
class Expected:
  """A member that a study asks for."""

  at: Mapping[str, int]
  identity: str


def read_marker(folder: Path) -> GroupRecord:
  """Read the marker of a group's folder; StoreError where it is damaged or another group's."""
  path = folder / MARKER
  if not path.is_file():
    raise StoreError(f"{folder} has no {MARKER}; {REPAIR}")
  try:
    found = typed_json.load_sealed(GroupRecord, path)
  except StoreError as error:
    raise StoreError(f"{str(error).rpartition(';')[0]}; {REPAIR}") from None
  if (found.stage, found.group) != (folder.parent.name, folder.name):
    raise damaged(path, f"it is the marker of {found.stage}/{found.group}")
  return found


def damaged(path: Path, reason: str) -> StoreError:
  """Return the error that a file of a group cannot be used."""
  return StoreError(f"{path} is damaged ({reason}); {REPAIR}")


def without_round(stage: str) -> str:
  """Return the method of a stage that is one of its rounds; other names as they are."""
  return stage.partition(ROUND)[0]


def text(at: At) -> str:
  """Write coordinates: "seed 3", "split 4, forget 1"."""
  return ", ".join(f"{name} {value}" for name, value in at.items())


def folders(folder: Path) -> list[str]:
  """Name the folders in a folder, without private ones, in order: quick also for ten thousand."""
  try:
    with os.scandir(folder) as entries:
      return sorted(each.name for each in entries if each.name[0] != "." and each.is_dir())
  except FileNotFoundError:
    return []


def chosen(expected: Iterable[Expected], where: Where, stage: str) -> list[Expected]:
  """Return the members that lie at the given coordinates; a sequence gives their order."""
  if where is None:
    return list(expected)
  if isinstance(where, Mapping):
    return [m for m in expected if all(m.at.get(key) == value for key, value in where.items())]
  by_place = {text(member.at): member for member in expected}
  try:
    return [by_place[text(at)] for at in where]
  except KeyError as error:
    raise StoreError(f"stage '{stage}' has no member {error.args[0]}") from None
