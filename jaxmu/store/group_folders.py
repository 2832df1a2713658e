"""The folders of groups below a run directory: made under private names, committed, borrowed."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import attempts, checkpoint, files, typed_json
from jaxmu.store.groups import (
  ALIVE,
  MARKER,
  SIZE,
  VARIABLES,
  CurveRow,
  GroupRecord,
  GroupSize,
  SignOfLife,
  read_marker,
)


class Kept(NamedTuple):
  """What a study keeps of a group of K members; None is not kept.

  Attributes:
    variables: leaves [K, ...], with what `about` says of them.
    logits: [K, N, C].
    scores: logit-scaled confidences and correctness, [K, N] each.
    curves: rows of its training curves.
  """

  variables: Any
  about: Mapping[str, Any]
  logits: np.ndarray | None
  scores: tuple[np.ndarray, np.ndarray] | None
  curves: Sequence[CurveRow] | None

  def write(self, folder: Path) -> None:
    """Write everything into a folder, which is forced to disk when it is committed."""
    arrays = {"logits": self.logits}
    if self.scores is not None:
      arrays |= {"phi": self.scores[0], "correct": self.scores[1]}
    for name, array in arrays.items():
      if array is not None:
        files.write_array(folder / f"{name}.npy", array, sync=False)
    if self.curves is not None:
      files.write_table(folder / "curves.parquet", [vars(row) for row in self.curves], sync=False)
    if self.variables is not None:
      checkpoint.save(folder / VARIABLES, self.variables, self.about)


class GroupFolders:
  """Where the groups of a run lie, and how they come there; what is in them is `Record`'s."""

  def __init__(self, path: Path):
    self.path = path

  def folder(self, stage: str, group: str) -> Path:
    """Return where a group lies once it is finished."""
    return self.path / "stages" / stage / group

  def has(self, stage: str, group: str) -> bool:
    """Tell whether a group is finished; reads nothing."""
    return (self.folder(stage, group) / MARKER).is_file()

  def legs(self, stage: str, group: str) -> Path:
    """Return where the unfinished state of a group lies."""
    return self.path / "legs" / stage / group

  def states(self, stage: str, group: str) -> Path:
    """Return where the state of a group's members lies that may go on in a later stage."""
    return self.path / "states" / stage / group

  def clear_states(self, stage: str) -> None:
    """Remove the states of a stage's members, once nobody goes on from them."""
    checkpoint.remove(self.path / "states" / stage)

  def clear_legs(self, stage: str, group: str) -> None:
    """Remove the unfinished state of a group that is finished."""
    checkpoint.remove(self.legs(stage, group))

  def sweep(self) -> None:
    """Remove what killed processes left: states of groups that are finished, private names."""
    for folder in self.path.glob("legs/*/[!.]*"):
      if self.has(*folder.parts[-2:]):
        checkpoint.remove(folder)
    checkpoint.remove(self.path / "states")
    for folder in (self.path, *self.path.glob("stages/*"), *self.path.glob("legs/*")):
      attempts.sweep_folder(folder)

  def signs_of_life(self) -> Iterator[tuple[str, str, SignOfLife]]:
    """Yield stage, name and last sign of life of each group that is worked on."""
    for path in sorted(self.path.glob(f"legs/*/*/{ALIVE}")):
      stage, group = path.parts[-3:-1]
      try:
        sign = typed_json.load(SignOfLife, path)
      except StoreError:  # gone meanwhile
        continue
      if not self.has(stage, group):
        yield stage, group, sign

  def size(self, stage: str) -> int:
    """Return how many members of a stage fit into memory together; 0 where nobody had to ask."""
    path = self.path / "stages" / stage / SIZE
    return typed_json.load_sealed(GroupSize, path).members if path.is_file() else 0

  def remember_size(self, stage: str, members: int) -> None:
    """Write down how many members of a stage fit into memory together."""
    files.write_sealed(self.path / "stages" / stage / SIZE, GroupSize(members))

  def siblings(self, stage: str) -> list[Path]:
    """Return the markers of this stage in the runs beside this one."""
    found = self.path.parent.glob(f"*/stages/{stage}/[!.]*/{MARKER}")
    return sorted(marker for marker in found if marker.parents[3] != self.path)

  def finish(self, marker: GroupRecord, kept: Kept) -> bool:
    """Write what is kept of a group and give it its name; False if another was first."""
    attempt = self.attempt(marker.stage, marker.group)
    try:
      kept.write(attempt)
      return self.commit(attempt, marker)
    finally:
      shutil.rmtree(attempt, ignore_errors=True)

  def commit(self, attempt: Path, marker: GroupRecord) -> bool:
    """Write the marker into a private folder and give it its name; False if another was first."""
    marker = replace(marker, files=files.digests(attempt))
    files.write_sealed(attempt / MARKER, marker, sync=False)  # as all else, by what comes next
    return attempts.commit_folder(attempt, self.folder(marker.stage, marker.group))

  def attempt(self, stage: str, group: str) -> Path:
    """Make a private folder for a group's files."""
    final = self.folder(stage, group)
    attempts.sweep_attempts(final)
    return attempts.attempt_folder(final)

  def borrow(self, stage: str, lender: Path) -> bool:
    """Take over a group of a sibling run, its bytes shared by hard links and verified.

    Args:
      lender: the group's folder there.

    Raises:
      StoreError, CheckpointError: it is damaged.
    """
    known = read_marker(lender)
    attempt = self.attempt(stage, known.group)
    try:
      attempts.hardlink_tree(lender, attempt)
      (attempt / MARKER).unlink()
      files.verify(attempt, known.files)
      files.write_sealed(attempt / MARKER, replace(known, borrowed_from=lender.parents[2].name))
      return attempts.commit_folder(attempt, self.folder(stage, known.group))
    finally:
      shutil.rmtree(attempt, ignore_errors=True)

  def damaged(self) -> Iterator[tuple[Path, str]]:
    """Verify every group and every saved leg; yield the folders that cannot be used, and why."""
    for folder in sorted((self.path / "stages").glob("*/[!.]*")):
      try:
        files.verify(folder, read_marker(folder).files)
      except StoreError as error:
        yield folder, str(error)
    for leg in sorted(self.path.glob("legs/*/*/[0-9]*-[0-9]*")):
      try:
        checkpoint.load(leg)
      except CheckpointError as error:
        yield leg, str(error)
