"""What a stage has so far, where its members are processed in waves: results and curves of each."""

from collections.abc import Iterable
from typing import Any

from jaxmu.engine.population import Wave
from jaxmu.execution.runner import Outcome
from jaxmu.store import Run, checkpoint


class Parts:
  """Curves of all waves, and the results of finished ones on disk (`waves.Kept`)."""

  def __init__(self, run: Run, stage: str, identity: str):
    self.folder, self.identity = run.path / "legs" / stage / "waves", identity
    self.curves: dict[tuple[int, int], list[dict[str, Any]]] = {}

  def add(self, members: slice, rows: Iterable[dict]) -> list[dict]:
    """Add rows to the curves of a wave and return all rows of that wave."""
    own = self.curves.setdefault((members.start, members.stop), [])
    own += rows
    return own

  def all_curves(self) -> list[dict]:
    """Return the rows of all members, epoch by epoch, as if there had been one wave."""
    waves = sorted(self.curves)
    if len(waves) < 2:
      return [row for wave in waves for row in self.curves[wave]]
    rows = [row for wave in waves for row in self.curves[wave]]
    phases = list(dict.fromkeys(row["phase"] for row in rows))
    return sorted(rows, key=lambda row: (phases.index(row["phase"]), row["epoch"]))

  def get(self, wave: Wave) -> Outcome | None:
    """Read a finished wave; None where there is none of these members and this stage's identity."""
    path = self._path(wave)
    if not checkpoint.exists(path):
      return None
    variables, metadata = checkpoint.load(path)
    if metadata["identity"] != self.identity:
      return None
    self.curves[wave.members.start, wave.members.stop] = list(metadata["curves"])
    return Outcome(
      variables, tuple(metadata["failures"]), metadata["seconds"], metadata["compile_seconds"],
      tuple(metadata["passes"]),
    )  # fmt: skip

  def put(self, wave: Wave, outcome: Outcome) -> None:
    """Write a finished wave."""
    metadata = {name: value for name, value in outcome._asdict().items() if name != "variables"}
    rows = self.add(wave.members, ())
    extra = {"identity": self.identity, "curves": rows}
    checkpoint.save(self._path(wave), outcome.variables, metadata | extra)

  def _path(self, wave):
    return self.folder / f"{wave.members.start}-{wave.members.stop}"
