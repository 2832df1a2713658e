"""The record of a study: what every group of members left, one folder each, written once.

    stages/<stage>/<group>/marker.json      members, cost, size and SHA-256 of every other file
                           logits.npy  phi.npy  correct.npy  curves.parquet  variables/
    members.json                            who belongs to the study as it is asked for now

A group's folder is made under a private name and committed by one rename: the first attempt wins,
and half a group cannot exist. Readers join groups by the members' coordinates. A member is found by
its identity, a hash of all that decides its numbers, so folders of other settings are passed over.
Files are verified against the marker when they are first read.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import checkpoint, files, typed_json
from jaxmu.store.group_folders import GroupFolders
from jaxmu.store.groups import (
  MEMBERS,
  REPAIR,
  VARIABLES,
  Cost,
  Expected,
  GroupRecord,
  MemberRecord,
  Where,
  added,
  chosen,
  damaged,
  folders,
  read_marker,
  text,
)

_EXPECTED = dict[str, tuple[Expected, ...]]


class Place(NamedTuple):
  """Where a member's numbers lie: its group, and its row there."""

  group: GroupRecord
  row: int

  @property
  def member(self) -> MemberRecord:
    return self.group.members[self.row]


class Record(GroupFolders):
  """The finished groups below a run directory, and the members that the study asks for."""

  def __init__(self, path: Path):
    super().__init__(path)
    self.expected: dict[str, tuple[Expected, ...]] = {}
    self._groups: dict[str, dict[str, GroupRecord]] = {}
    self._places: dict[str, dict[str, Place]] = {}
    self._verified: set[Path] = set()
    if (path / MEMBERS).is_file():
      self.expected = typed_json.load_sealed(_EXPECTED, path / MEMBERS)

  def expect(self, stage: str, members: Sequence[Expected]) -> None:
    """Say which members of a stage the study asks for."""
    self.expected[stage] = tuple(members)

  def write_expected(self) -> None:
    """Write down whom the study asks for, for readers that do not know it."""
    path = self.path / MEMBERS
    if not path.is_file() or typed_json.load_sealed(_EXPECTED, path) != self.expected:
      files.write_sealed(path, self.expected)

  def groups(self, stage: str) -> list[GroupRecord]:
    """Return the finished groups of a stage, by name; markers are read once.

    Raises:
      StoreError: a marker is absent or damaged, or of another group.
    """
    known, folder = self._groups.setdefault(stage, {}), self.path / "stages" / stage
    found = folders(folder)
    for name in found:
      if name not in known:
        known[name] = read_marker(folder / name)
        for row, member in enumerate(known[name].members):
          place = Place(known[name], row)
          self._places.setdefault(stage, {}).setdefault(member.identity, place)
    return [known[name] for name in found]

  def missing(self, stage: str) -> list[int]:
    """Return the positions of the expected members that no finished group holds."""
    self.groups(stage)
    known = self._places.get(stage, {})
    expected = self.expected.get(stage, ())
    return [k for k, member in enumerate(expected) if member.identity not in known]

  def members(self, stage: str, where: Where = None) -> list[MemberRecord]:
    """Return the expected members of a stage, in their order; StoreError if one is missing."""
    return [place.member for place in self.places(stage, where)]

  def rows(self, stage: str, where: Where = None) -> list[dict[str, Any]]:
    """Return coordinates, failure, passes and what was measured, a row per member."""
    return [
      {
        "method": stage,
        **member.at,
        "finite": not member.failure,
        "failed_steps": member.failure,
        "passes": member.passes,
        **member.row,
      }
      for member in self.members(stage, where)
    ]

  def logits(self, stage: str, where: Where = None) -> np.ndarray:
    """Return the logits of members, [K, N, C]; memory-mapped where they lie in this order."""
    return self.array(stage, "logits", where)

  def scores(self, stage: str, where: Where = None) -> tuple[np.ndarray, np.ndarray]:
    """Return logit-scaled confidences, float32 [K, N], and correctness, bool [K, N]."""
    return self.array(stage, "phi", where), self.array(stage, "correct", where)

  def array(self, stage: str, name: str, where: Where = None) -> np.ndarray:
    """Join an array of all groups, [K, ...], in the order of the members."""
    places = self.places(stage, where)
    maps = {group.group: self._map(group, name) for group in _groups(places)}
    rows = [place.row for place in places]
    if len(maps) == 1:
      (whole,) = maps.values()
      run = range(rows[0], rows[0] + len(rows))
      return whole[rows[0] : run.stop] if rows == list(run) else whole[rows]
    first = maps[places[0].group.group]
    joined = np.empty((len(places), *first.shape[1:]), first.dtype)
    for k, place in enumerate(places):
      joined[k] = maps[place.group.group][place.row]
    return joined

  def variables(self, stage: str, where: Where = None) -> Any:
    """Read the variables of members, leaves [K, ...] in the order of `where`.

    Raises:
      StoreError, CheckpointError: a member is missing, or a checkpoint damaged.
    """
    import jax

    places = self.places(stage, where)
    loaded = {group.group: self.load(group) for group in _groups(places)}
    if len(loaded) == 1:
      rows = np.array([place.row for place in places])
      (tree,) = loaded.values()
      same = np.array_equal(rows, np.arange(len(places[0].group.members)))
      return tree if same else jax.tree.map(lambda leaf: leaf[rows], tree)
    one = lambda place: jax.tree.map(lambda leaf: leaf[place.row], loaded[place.group.group])
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, places))

  def curves(self, stage: str) -> list[dict[str, Any]]:
    """Return the training curves of the expected members, epoch by epoch."""
    places = self.places(stage, None)
    order = {(place.group.group, place.row): k for k, place in enumerate(places)}
    found: list[tuple[int, dict[str, Any]]] = []
    for group in _groups(places):
      for row in self.curves_of(group):
        member = row.pop("member")
        if (k := order.get((group.group, member))) is not None:
          found.append((k, {"stage": stage, **group.members[member].at, **row}))
    phases = list(dict.fromkeys(row["phase"] for _, row in found))
    found.sort(key=lambda pair: (phases.index(pair[1]["phase"]), pair[1]["epoch"], pair[0]))
    return [row for _, row in found]

  def curves_of(self, group: GroupRecord) -> list[dict[str, Any]]:
    """Return the training curves of a group's members, `member` the place of each there."""
    import pyarrow.parquet

    path = self.verify(group, "curves.parquet")
    with files.reading(path):
      return pyarrow.parquet.read_table(path).to_pylist()

  def cost(self, stage: str) -> Cost:
    """Add up what the groups of a stage took that hold members of the study."""
    return added(group.cost for group in _groups(self.places(stage, None)))

  def repair(self, say: Callable[[str], None]) -> None:
    """Delete what is damaged, and say so; its members are made anew."""
    damaged = list(self.damaged())
    for folder, reason in damaged:
      self.forget(folder)
      say(f"deleted {folder}: {reason.partition(';')[0]}")
    if not damaged:
      say("nothing is damaged")

  def forget(self, folder: Path) -> None:
    """Delete a group, and what is remembered of it."""
    checkpoint.remove(folder)
    self._groups, self._places, self._verified = {}, {}, set()

  def speed(self) -> float | None:
    """Return training images per second that the finished groups reached; None for none."""
    found = [group.cost for stage in self.expected for group in self.groups(stage)]
    seconds = sum(cost.wall_s for cost in found)
    return sum(cost.passes for cost in found) / 3 / seconds if seconds > 0 else None

  def passes_per_device_second(self) -> float | None:
    """Return the sample-passes that a device made in a second of training; None for no groups."""
    found = [group for stage in self.expected for group in self.groups(stage)]
    seconds = sum(group.cost.wall_s * group.devices for group in found)
    return sum(group.cost.passes for group in found) / seconds if seconds > 0 else None

  def places(self, stage: str, where: Where) -> list[Place]:
    """Return where the expected members lie that `where` names, or all."""
    self.groups(stage)
    known, expected = self._places.get(stage, {}), self.expected.get(stage, ())
    places = []
    for member in chosen(expected, where, stage):
      if member.identity not in known:
        raise StoreError(
          f"{self.path / 'stages' / stage} has no member {text(member.at)}; run the same command "
          "again to make it"
        )
      places.append(known[member.identity])
    if not places:
      raise StoreError(f"{self.path} has no members of stage '{stage}'")
    return places

  def _map(self, group: GroupRecord, name: str) -> np.ndarray:
    path = self.verify(group, f"{name}.npy")
    with files.reading(path):
      found = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.shape[:1] != (len(group.members),):
      raise damaged(path, f"it has {found.shape[:1]} rows for {len(group.members)} members")
    return found

  def load(self, group: GroupRecord) -> Any:
    """Read the variables of a group, leaves [members, ...]; CheckpointError if damaged."""
    folder = self.folder(group.stage, group.group)
    # The metadata hold the digests of all other files, which `load` verifies.
    self.verify(group, f"{VARIABLES}/{checkpoint.METADATA}")
    try:
      return checkpoint.load(folder / VARIABLES)[0]
    except CheckpointError as error:
      raise CheckpointError(f"{str(error).rpartition(';')[0]}; {REPAIR}") from None

  def verify(self, group: GroupRecord, name: str) -> Path:
    """Check a file of a group against the marker, once; return its path, or raise StoreError."""
    path = self.folder(group.stage, group.group) / name
    if path in self._verified:
      return path
    if name not in group.files:
      raise StoreError(f"{path.parent} keeps no {name}")
    try:
      files.verify(path.parent, {path.name: group.files[name]})
    except StoreError as error:
      raise damaged(path, str(error)) from None
    self._verified.add(path)
    return path


def _groups(places: Sequence[Place]) -> list[GroupRecord]:
  """Return the groups that places are in, each once."""
  return list({place.group.group: place.group for place in places}.values())
