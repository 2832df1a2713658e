"""Epochs of a stage as they finish: progress, curves, and checkpoints to go on from."""

import time
from collections.abc import Callable, Iterable

from jaxmu.engine.population import Population
from jaxmu.execution.observations import Leg, Snapshot
from jaxmu.store import Run, checkpoint, files, leg_checkpoints, typed_json
from jaxmu.store.records import CurveRow, LegRecord
from jaxmu.studies.progress import Progress


class Legs:
  """Takes note of each leg, saves one now and then, and finds the saved one again.

  Attributes:
    record: (members, rows of a leg) -> all rows of these members, kept by the caller.
  """

  def __init__(
    self,
    run: Run,
    name: str,
    identity: str,
    progress: Progress,
    *,
    every: float,
    rows: Callable[[Leg], Iterable[CurveRow]] = lambda leg: (),
    record: Callable[[slice, Iterable[CurveRow]], list[CurveRow]] = lambda _, rows: list(rows),
  ):
    self.run, self.name, self.identity = run, name, identity
    self.progress, self.every, self.rows, self.record = progress, every, rows, record
    self.saved_at = time.monotonic()

  def take(self, leg: Leg) -> None:
    """Note a leg; save it if the last one was saved more than `every` seconds ago."""
    self.progress.leg(leg)
    curves = self.record(leg.members, () if leg.replay else self.rows(leg))
    last = leg.epoch + 1 == leg.epochs
    if last or time.monotonic() - self.saved_at < self.every:
      return
    snapshot = leg.snapshot()
    number = leg_checkpoints.LegNumber(leg.wave, leg.number, leg.epoch)
    record = LegRecord(**snapshot.rest(), identity=self.identity, curves=tuple(curves))
    arrays, metadata = snapshot.arrays(), files.plain(record)
    leg_checkpoints.save(self.run, self.name, number, arrays, metadata)
    self.saved_at = time.monotonic()

  def resume(self, population: Population, at_once: int | None = None) -> Snapshot | None:
    """Return the saved leg of these members in waves of `at_once`; None where there is none.

    Raises:
      StoreError: its metadata have another form.
    """
    found = leg_checkpoints.latest(self.run, self.name)
    if found is None:
      return None
    number, arrays, metadata = found
    path = leg_checkpoints.path(self.run, self.name, number) / checkpoint.METADATA
    known = vars(typed_json.parse(LegRecord, metadata, path)).copy()
    identity, curves = known.pop("identity"), known.pop("curves")
    if identity != self.identity:  # saved by a run of other settings: start anew
      return None
    snapshot = Snapshot(**known, **arrays)
    members = slice(*snapshot.members) if snapshot.members else slice(0, population.size)
    if members not in [wave.members for wave in population.waves(at_once)]:
      return None  # saved where more or fewer fitted
    self.record(members, curves)
    self.progress.line(f"resuming after epoch {snapshot.epoch + 1}")
    return snapshot
