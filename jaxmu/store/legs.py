"""Legs of an unfinished group: training curves, a sign of life, and checkpoints to go on from."""

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxmu.execution.observations import Leg, Snapshot, means
from jaxmu.store import checkpoint, files, typed_json
from jaxmu.store.groups import ALIVE, CurveRow, LegRecord, SignOfLife

SIGN_SECONDS = 5.0  # least time between two signs of life


class LegNumber(NamedTuple):
  """Which leg of a group: phase and epoch, each from 0. Later ones are larger.

  Its folder is named `phase-epoch`.
  """

  phase: int
  epoch: int

  def __str__(self) -> str:
    return "-".join(map(str, self))


class Legs:
  """Takes note of each leg of a group, saves one now and then, and finds the saved one again.

  Attributes:
    curves: training curves of the group's members so far.
  """

  def __init__(self, folder: Path, identity: str, every: float):
    """Begin.

    Args:
      folder: where the group's unfinished state lies.
      identity: hash of the identities of its members.
      every: least seconds between two saved legs.
    """
    self.folder, self.identity, self.every = folder, identity, every
    self.curves: list[CurveRow] = []
    self.saved_at = time.monotonic()
    self.said_at: float | None = None

  def take(self, leg: Leg, stopping: bool = False) -> None:
    """Note a leg; save it if the last one was saved long ago, or if the process is to stop."""
    self._say_alive(leg)
    if not leg.replay:
      self.curves += curve_rows(leg)
    last = leg.epoch + 1 == leg.epochs
    due = not last and time.monotonic() - self.saved_at >= self.every
    if due or stopping:
      self._save(leg)

  def resume(self) -> Snapshot | None:
    """Return the saved leg of these members; None where there is none.

    Raises:
      StoreError: its metadata have another form.
    """
    numbers = _numbers(self.folder)
    if not numbers:
      return None
    path = self.folder / str(numbers[-1])
    arrays, metadata = checkpoint.load(path)
    known = vars(typed_json.parse(LegRecord, metadata, path / checkpoint.METADATA)).copy()
    identity, curves = known.pop("identity"), known.pop("curves")
    if identity != self.identity:  # of other members: start anew
      return None
    self.curves = list(curves)
    return Snapshot(**known, **arrays)

  def clear(self) -> None:
    """Remove all legs, once the group is finished."""
    checkpoint.remove(self.folder)

  def _say_alive(self, leg: Leg) -> None:
    """Let other processes see that somebody works here, and how far that is."""
    now = time.monotonic()
    if self.said_at is None or now - self.said_at >= SIGN_SECONDS:
      who = (socket.gethostname(), os.getpid(), time.time(), leg.phase, leg.epoch + 1, leg.epochs)
      sign = SignOfLife(*who, len(leg.metrics.loss), leg.seconds)
      files.write_json(self.folder / ALIVE, sign, sync=False)
      self.said_at = now

  def _save(self, leg: Leg) -> None:
    """Save the state after a leg, then remove older ones."""
    snapshot, number = leg.snapshot(), LegNumber(leg.number, leg.epoch)
    record = LegRecord(**snapshot.rest(), identity=self.identity, curves=tuple(self.curves))
    checkpoint.save(self.folder / str(number), snapshot.arrays(), files.plain(record))
    for other in _numbers(self.folder):
      if other != number:
        checkpoint.remove(self.folder / str(other))
    self.saved_at = time.monotonic()


def curve_rows(leg: Leg) -> Iterator[CurveRow]:
  """Yield one row per member: means over the epoch's steps; members at rest have none."""
  return (CurveRow(**row) for row in means(leg))


def _numbers(folder: Path) -> list[LegNumber]:
  found = folder.iterdir() if folder.is_dir() else ()
  legs = [each for each in found if re.fullmatch(r"\d+-\d+", each.name)]
  return sorted(LegNumber(*map(int, leg.name.split("-"))) for leg in legs if checkpoint.exists(leg))
