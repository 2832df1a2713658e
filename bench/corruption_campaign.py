"""Damage every kind of file of a finished run in every way, and see what the programs make of it.

On a tiny benchmark and a tiny U-LiRA study (synthetic data): a file is damaged, bin/report.py,
bin/inspect.py and a plan look at the run, and the same command is given again. Nothing may end in a
traceback or show another number; an error must name a file of the run, and following its advice
must bring all numbers back, bit for bit.

  python bench/corruption_campaign.py                    # all kinds and damages: about half an hour
  python bench/corruption_campaign.py --kinds marker.json logits.npy --studies benchmark
"""

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import damage

from jaxmu.command import cli
from jaxmu.engine import runtime
from jaxmu.errors import Interrupted
from jaxmu.settings import Settings
from jaxmu.stopping import Stop
from jaxmu.store.record import Record
from jaxmu.studies import catalog
from jaxmu.studies import run as run_study

sys.path.append(str(damage.ROOT / "tests"))
from support import studies, sweeps

STUDIES = {"benchmark": sweeps.arguments, "ulira": studies.arguments}
OTHER = "--config.training.learning_rate=0.03"  # what makes another run of the same shapes
KINDS = {  # name -> where the files are; of several, the largest is damaged
  "config.json": "config.json",
  "manifest.json": "manifest.json",
  "members.json": "members.json",
  "results.json": "results.json",
  "log.jsonl": "log.jsonl",
  "timings.json": "timings.json",
  "study.json": "study.json",
  "rows.parquet": "rows.parquet",
  "curves.parquet": "curves.parquet",
  "exposure.parquet": "exposure.parquet",
  "exposed.npy": "exposed.npy",
  "marker.json": "stages/original/*/marker.json",
  "logits.npy": "stages/ft/*/logits.npy",
  "phi.npy": "stages/ft/*/phi.npy",
  "correct.npy": "stages/retrained/*/correct.npy",
  "a group's curves.parquet": "stages/ft/*/curves.parquet",
  "variables: metadata.json": "stages/original/*/variables/metadata.json",
  "variables: arrays": "stages/original/*/variables/state/ocdbt.process_0/d/*",
  "variables: orbax's index": "stages/original/*/variables/state/manifest.ocdbt",
  "a group's folder": "stages/retrained/*",
  "a group's variables": "stages/original/*/variables",
  "group size": "stages/ft/.size.json",
  "sign of life": "legs/ft/*/alive.json",
  "leg: metadata.json": "legs/ft/*/*/metadata.json",
  "leg: arrays": "legs/ft/*/*/state/ocdbt.process_0/d/*",
  "leg: folder": "legs/ft/*/*-*",
}


class Case(NamedTuple):
  """A run, whole or stopped in the middle, and one of another learning rate."""

  run: Path
  other: Path
  argv: list[str]
  numbers: dict[str, str]  # of the whole run
  report: str


class WhenSaved(Stop):
  """Stops once a leg of stage `ft` is saved below a folder."""

  def __init__(self, folder: Path):
    super().__init__()
    self.folder = folder

  @property
  def wanted(self) -> bool:
    """Whether a leg is there."""
    return any(self.folder.glob("*/legs/ft/*/*/metadata.json"))


def prepare(study: str, folder: Path, stopped: bool) -> Case:
  """Make a run, and another one of another learning rate; stop both in the middle, or none."""
  own, other = ((folder / name, STUDIES[study](folder / name)) for name in ("own", "other"))
  other[1].append(OTHER)
  whole = make(*own)
  numbers, report = damage.fingerprint(whole), damage.report(whole)
  if stopped:
    shutil.rmtree(whole)
    make(*own, stopped=True)
  found = Case(whole, make(*other, stopped=stopped), own[1], numbers, report)
  for run in (found.run, found.other):
    Record(run).remember_size("ft", 64)
  return found


def make(output: Path, argv: list[str], stopped: bool = False) -> Path:
  """Run a study to its end, or until a leg of stage `ft` is saved."""
  if stopped:
    settings = Settings.from_config(cli.parse(cli.parser("study"), argv).config, catalog())
    with contextlib.suppress(Interrupted):
      run_study(settings, out=io.StringIO(), stop=WhenSaved(output))
  else:
    said = damage.call("sweep.py", *argv)
    assert said.code == 0, said.err
  return sweeps.only_run(output)


class Cell(NamedTuple):
  """What came of one damage: what the same command did, and what other programs said."""

  study: str
  kind: str
  damage: str
  command: str
  readers: dict[str, str]
  faults: list[str]


def try_all(
  study: str, kinds: Sequence[str], damages: Sequence[str], folder: Path, stopped: bool
) -> Iterator[Cell]:
  """Yield what comes of each damage to each kind of file that such a run has."""
  case = prepare(study, folder, stopped)
  pristine = folder / "pristine"
  shutil.copytree(case.run, pristine)
  before = read(case)
  for kind in kinds:
    found, others = (sorted(run.glob(KINDS[kind]), key=_size) for run in (case.run, case.other))
    if not found or KINDS[kind].startswith("legs") != stopped:
      continue
    for name in damages:
      if found[0].is_dir() and name not in ("deleted", "another run's"):
        continue
      if name == "another run's" and found[0].is_file() and _same(found[0], others[0]):
        continue
      damage.DAMAGES[name](found[0], others[0])
      yield tried(study, kind, name, case, before)
      shutil.rmtree(case.run)
      shutil.copytree(pristine, case.run)


def _size(path: Path) -> int:
  return -path.stat().st_size


def _same(one: Path, other: Path) -> bool:
  return one.read_bytes() == other.read_bytes()


def tried(study: str, kind: str, name: str, case: Case, before: dict[str, damage.Said]) -> Cell:
  """Look at a damaged run, and give the same command."""
  faults: list[str] = []
  readers = {
    reader: damage.judged(reader, case.run, said, before[reader], faults)
    for reader, said in read(case).items()
  }
  if damage.report(case.run) not in ("", case.report):
    faults.append("another report")
  try:
    command = same_command(case, faults)
  except AssertionError as error:
    command = "FAULT"
    faults.append(str(error))
  return Cell(study, kind, name, command, readers, faults)


def read(case: Case) -> dict[str, damage.Said]:
  """Let all programs look at a run that write no numbers."""
  return {
    "report": damage.call("report.py", case.run),
    "inspect": damage.call("inspect.py", case.run, "--norms", "--json"),
    "plan": damage.call("sweep.py", *case.argv, "--plan", "--json"),
  }


def same_command(case: Case, faults: list[str]) -> str:
  """Give the same command, and follow its advice; say in words how the numbers came back."""
  said = damage.call("sweep.py", *case.argv)
  words = "made anew" if " members done in" in said.err else "no matter"
  if said.code:
    words = f"refused: {damage.follow(case.run, case.argv, said)}"
  results = lambda: {p: h for p, h in damage.fingerprint(case.run).items() if "/" not in p}
  if results() != {path: known for path, known in case.numbers.items() if "/" not in path}:
    faults.append(f"other results after: {words}")
  if damage.fingerprint(case.run) != case.numbers:  # weights that nobody reads again
    damage.call("sweep.py", *case.argv, "--repair")
    words += " (not read; --repair)"
  if damage.fingerprint(case.run) != case.numbers:
    faults.append(f"other numbers after: {words}")
  if damage.report(case.run) != case.report:
    faults.append(f"another report after: {words}")
  return words


def table(cells: Sequence[Cell]) -> str:
  """Lay out what came of each damage as Markdown; the studies' answers together."""
  damages = list(dict.fromkeys(cell.damage for cell in cells))
  lines = [f"| file | {' | '.join(damages)} |", f"| :-- |{' :-- |' * len(damages)}"]
  for kind in dict.fromkeys(cell.kind for cell in cells):
    answers = {
      name: dict.fromkeys(_words(c) for c in cells if (c.kind, c.damage) == (kind, name))
      for name in damages
    }
    lines.append(f"| {kind} | {' | '.join(' / '.join(a) or '-' for a in answers.values())} |")
  faults = sum(bool(cell.faults) for cell in cells)
  return "\n".join([*lines, "", f"{len(cells)} damages, {faults} of them with faults"])


def _words(cell: Cell) -> str:
  """Say what the same command did, and which other programs refused."""
  refused = [reader for reader, word in cell.readers.items() if word == "refused"]
  return cell.command + (f" [{', '.join(refused)}]" if refused else "")


def main(argv: Sequence[str] | None = None) -> int:
  """Try what is asked for, and print it."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=STUDIES)
  parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
  parser.add_argument("--damages", nargs="+", default=list(damage.DAMAGES), choices=damage.DAMAGES)
  args = parser.parse_args(argv)
  runtime.configure(2)
  cells = []
  for study in args.studies:
    for stopped in (False, True):
      with tempfile.TemporaryDirectory() as folder:
        for cell in try_all(study, args.kinds, args.damages, Path(folder), stopped):
          cells.append(cell)
          print(json.dumps(cell._asdict()), file=sys.stderr, flush=True)
  print(table(cells))
  return int(any(cell.faults for cell in cells))


if __name__ == "__main__":
  sys.exit(main())
