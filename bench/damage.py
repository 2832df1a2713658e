"""Damaging the files of a run, and looking at what each program then says and does.

A run may answer damage in three ways: refuse in one line that names the file and gives advice which
works, make the file anew with the same bits, or have the same bits because it does not need the
file. Everything else is a fault: a traceback, advice that leads nowhere, or another number.
"""

import contextlib
import io
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxmu.errors import CheckpointError
from jaxmu.store import checkpoint, files

ROOT = Path(__file__).parents[1]
ADVICE = 4  # pieces of advice that may be needed one after another
NUMBERS = ("logits.npy", "phi.npy", "correct.npy", "exposed.npy", "exposed.json", "study.json")


class Said(NamedTuple):
  """How a program ended: its exit code (-1: a traceback), and what it printed."""

  code: int
  out: str
  err: str

  @property
  def line(self) -> str:
    """The line of an error, without what comes before it."""
    return next((x for x in self.err.splitlines() if x.startswith("error: ")), "")


def call(script: str, *argv: str | Path) -> Said:
  """Run a program of bin/ in this process."""
  out, err, before = io.StringIO(), io.StringIO(), sys.argv
  sys.argv = [script, *map(str, argv)]
  code: int = -1
  try:
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      runpy.run_path(str(ROOT / "bin" / script), run_name="__main__")
  except SystemExit as error:
    code = int(error.code or 0)
  except Exception as error:
    err.write(f"traceback: {type(error).__name__}: {error}")
  finally:
    sys.argv = before
  return Said(code, out.getvalue(), err.getvalue())


def truncated(path: Path, other: Path) -> None:
  """Cut a file in half."""
  del other
  _write(path, path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path, other: Path) -> None:
  """Flip a bit in the middle of a file."""
  del other
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  _write(path, bytes(content))


def emptied(path: Path, other: Path) -> None:
  """Leave an empty file."""
  del other
  _write(path, b"")


def deleted(path: Path, other: Path) -> None:
  """Delete a file or a folder."""
  del other
  shutil.rmtree(path) if path.is_dir() else path.unlink()


def swapped(path: Path, other: Path) -> None:
  """Put what another run has there in its place."""
  if path.is_dir():
    shutil.rmtree(path)
    shutil.copytree(other, path)
  else:
    _write(path, other.read_bytes())


DAMAGES: dict[str, Callable[[Path, Path], None]] = {
  "truncated": truncated,
  "one bit flipped": flipped,
  "emptied": emptied,
  "deleted": deleted,
  "another run's": swapped,
}


def _write(path: Path, content: bytes) -> None:
  """Replace a file: bytes may be shared with a copy."""
  path.unlink()
  path.write_bytes(content)


def fingerprint(run: Path) -> dict[str, str]:
  """Return a hash of everything in a run that is a number, by relative path."""
  found = [*run.rglob("*.parquet"), *(path for name in NUMBERS for path in run.rglob(name))]
  hashes = {str(path.relative_to(run)): files.sha256(path) for path in found}
  for weights in run.glob("stages/*/*/variables"):
    try:
      hashes[str(weights.relative_to(run))] = checkpoint.describe(weights).sha256
    except CheckpointError as error:
      hashes[str(weights.relative_to(run))] = str(error)
  return hashes


def report(run: Path) -> str:
  """Return what a report says, without dates and times; "" where there is none."""
  path = run / "report.md"
  text = path.read_text(encoding="utf-8") if path.exists() else ""
  text = re.sub(r"^- (Date|Commit|Command): .*$", "", text, flags=re.MULTILINE)
  text = re.sub(
    r" \([\d.,]+ (s|min|h) here for .*? together\)", "", text
  )  # the price of retraining
  return re.sub(r"^#+ (Time|Cost)$.*?(?=^#+ )", "", text, flags=re.MULTILINE | re.DOTALL)


def judged(reader: str, run: Path, said: Said, before: Said, faults: list[str]) -> str:
  """Say in a word what a program made of a damaged run, and note faults."""
  if said.code == 2:
    faults += [f"{reader}: {fault}" for fault in refusal_faults(run, said)]
    return "refused"
  if said.code:
    faults.append(f"{reader}: code {said.code}: {said.err[-300:]}")
    return "FAULT"
  if reader == "report":
    return "same"  # what it wrote is compared
  old, new = (json.loads(each.out) for each in (before, said))
  if _numbers(reader, old) == _numbers(reader, new):
    return "same"
  if _fewer(reader, old, new):
    return "less"
  if list(run.glob("legs/*/*/[0-9]*")):
    return "another leg"  # which nothing goes on from: the next process starts that group anew
  faults.append(f"{reader}: shows something else")
  return "FAULT"


def refusal_faults(run: Path, said: Said) -> list[str]:
  """Say what is wrong with a refusal: it must end in one line that names a file of the run."""
  if not said.err.splitlines()[-1].startswith("error: ") or "Traceback" in said.err:
    return [f"not one line: {said.err[-300:]}"]
  return [] if str(run) in said.line else [f"names no file of the run: {said.line}"]


def _numbers(reader: str, shown: dict[str, Any]) -> Any:
  """Return what is shown but for clocks."""
  if reader == "plan":
    return _planned(shown), shown["total"]["units_left"]
  return {name: part for name, part in shown.items() if name != "working"}


def _planned(shown: dict[str, Any]) -> Any:
  total = {name: shown["total"][name] for name in ("members", "pflop", "bytes", "units")}
  return shown["study"], total


def _fewer(reader: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
  """Tell whether less is done than before, and all that is shown is what was shown before."""
  if reader == "plan":
    return (
      _planned(old) == _planned(new) and old["total"]["units_left"] < new["total"]["units_left"]
    )
  asked = [[(s["stage"], s["members"]) for s in shown["stages"]] for shown in (old, new)]
  known = all(each in old["checkpoints"] for each in new["checkpoints"])
  return asked[0] == asked[1] and known and old["run"] == new["run"]


def follow(run: Path, argv: list[str], said: Said) -> str:
  """Do what an error advises until the same command ends well; return what was done.

  Raises:
    AssertionError: the advice is none, or leads nowhere.
  """
  done: list[str] = []
  for _ in range(ADVICE):
    assert not refusal_faults(run, said), refusal_faults(run, said)
    if "--repair" in said.line:
      done, said = [*done, "--repair"], call("sweep.py", *argv, "--repair")
    elif "run the same command again" in said.line:
      if "delete it" in said.line:
        done, _ = [*done, "deleted"], _delete(run, said.line)
      said = call("sweep.py", *argv)
    else:
      raise AssertionError(f"no advice in: {said.line or said.err}")
    assert said.code in (0, 2), f"code {said.code}: {said.err[-300:]}"
    if said.code == 0:
      return ", ".join(done)
  raise AssertionError(f"advice that does not end: {said.line or said.err}")


def _delete(run: Path, line: str) -> None:
  """Delete the path that an error names."""
  named = re.search(rf"{re.escape(str(run))}[^\s:;()]*", line)
  assert named, f"it names no file to delete: {line}"
  checkpoint.remove(Path(named[0])) if Path(named[0]).is_dir() else Path(named[0]).unlink()
