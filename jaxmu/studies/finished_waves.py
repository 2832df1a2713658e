"""What a stage has so far, where its members are processed in waves: results and curves of each."""

from collections.abc import Iterable
from pathlib import Path

from jaxmu.engine.population import Wave
from jaxmu.execution.runner import Outcome
from jaxmu.store import Run, checkpoint, files, typed_json
from jaxmu.store.records import CurveRow, WaveRecord


class Parts:
  """Curves of all waves, and the results of finished ones on disk (`waves.Kept`)."""

  def __init__(self, run: Run, stage: str, identity: str):
    self.folder, self.identity = run.path / "legs" / stage / "waves", identity
    self.curves: dict[tuple[int, int], list[CurveRow]] = {}

  def add(self, members: slice, rows: Iterable[CurveRow]) -> list[CurveRow]:
    """Add rows to the curves of a wave and return all of that wave."""
    own = self.curves.setdefault((members.start, members.stop), [])
    own += rows
    return own

  def all_curves(self) -> list[CurveRow]:
    """Return the rows of all members, epoch by epoch, as if there had been one wave."""
    waves = sorted(self.curves)
    if len(waves) < 2:
      return [row for wave in waves for row in self.curves[wave]]
    rows = [row for wave in waves for row in self.curves[wave]]
    phases = list(dict.fromkeys(row.phase for row in rows))
    return sorted(rows, key=lambda row: (phases.index(row.phase), row.epoch))

  def get(self, wave: Wave) -> Outcome | None:
    """Read a finished wave; None where there is none of these members and this stage's identity."""
    path = self._path(wave)
    if not checkpoint.exists(path):
      return None
    variables, metadata = checkpoint.load(path)
    known = typed_json.parse(WaveRecord, metadata, path / checkpoint.METADATA)
    if known.identity != self.identity:
      return None
    self.curves[wave.members.start, wave.members.stop] = list(known.curves)
    return Outcome(variables, known.failures, known.seconds, known.compile_seconds, known.passes)

  def put(self, wave: Wave, outcome: Outcome) -> None:
    """Write a finished wave."""
    known = WaveRecord(
      failures=outcome.failures,
      seconds=outcome.seconds,
      compile_seconds=outcome.compile_seconds,
      passes=outcome.passes,
      identity=self.identity,
      curves=tuple(self.add(wave.members, ())),
    )
    checkpoint.save(self._path(wave), outcome.variables, files.plain(known))

  def _path(self, wave: Wave) -> Path:
    return self.folder / f"{wave.members.start}-{wave.members.stop}"
