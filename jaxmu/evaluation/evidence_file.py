"""Evidence: all numbers of an evaluation with what they were computed from, to be verified."""

import json
import math
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jaxmu
from jaxmu.audit.results import LEVEL
from jaxmu.data.overlap import Shared
from jaxmu.errors import StoreError, UserError, shown
from jaxmu.evaluation import result, verdict
from jaxmu.evaluation.hashes import digest
from jaxmu.evaluation.inputs import MODELS, SETS, Given, whole
from jaxmu.evaluation.result import Evaluation
from jaxmu.store import files

FORMAT = 1
EVIDENCE, ARRAYS = "evidence.json", "evidence.npz"
PACKAGES = ("numpy", "scipy", "scikit-learn", "pandas")
PARTS: dict[str, Any] = {  # of the file: what is read of it, and its form
  "format": int,
  "versions": dict,
  "thresholds": dict,
  "inputs": dict,
  "shared_images": list | None,
  "results": dict,
}
TOLERANCE = 1e-9  # of numbers that are computed again: another processor may round differently


class Verification(NamedTuple):
  """What `verify` found: one line for each mismatch, and notes on what it cannot tell."""

  mismatches: tuple[str, ...]
  notes: tuple[str, ...]

  @property
  def sound(self) -> bool:
    return not self.mismatches

  def __str__(self) -> str:
    count = len(self.mismatches)
    last = f"{count} mismatches" if count != 1 else "1 mismatch"
    lines = [*self.mismatches, *(f"note: {note}" for note in self.notes)]
    return "\n".join([*lines, last if count else "verified: all hashes and numbers agree"])


def write(folder: Path, found: Evaluation) -> list[Path]:
  """Write evidence.npz, then evidence.json, which seals itself; equal inputs give equal bytes.

  Raises:
    StoreError: the folder cannot be written.
  """
  files.replace(folder / ARRAYS, lambda file: np.savez(file, **arrays(found.given)))
  files.write_sealed(folder / EVIDENCE, content(found))
  return [folder / EVIDENCE, folder / ARRAYS]


def content(found: Evaluation) -> dict[str, Any]:
  """Return what evidence.json holds, without its seal."""
  given = found.given
  asked = {name: getattr(found.asked, name) for name in verdict.THRESHOLDS}
  return {
    "format": FORMAT,
    "versions": versions(),
    "thresholds": asked,
    "inputs": inputs(given),
    "shared_images": None if given.shared is None else [one._asdict() for one in given.shared],
    "results": results(found),
  }


def results(found: Evaluation) -> dict[str, Any]:
  """Return all that is computed, as JSON has it; numbers that are NaN are null."""
  given = found.given
  about = {
    "seeds": given.seeds,
    "classes": given.classes,
    "samples": given.sizes,
    "level": LEVEL,
    "recognised": found.recognised,
  }
  judged = {
    "outcome": found.verdict.outcome,
    "reasons": found.verdict.reasons,
    "checks": {
      one.name: {"asked": one.words, "met": check.met, "value": check.words}
      for one, check in zip(found.verdict.criteria, found.verdict.checks)
    },
  }
  tables = {name: getattr(found, name) for name in ("rows", "attacks", "intervals", "differences")}
  named = {name: _named(table) for name, table in tables.items()}
  warned = [caution._asdict() for caution in found.cautions]
  return files.plain(_plain({"about": about, "verdict": judged, **named, "cautions": warned}))


def arrays(given: Given) -> dict[str, np.ndarray]:
  """Return what everything is computed from, by name: logits, labels, positions of the sets."""
  return {**given.logits, "labels": given.labels, **given.sets}


def inputs(given: Given) -> dict[str, Any]:
  """Return what identifies every input: SHA-256, type and shape by name."""
  images = {f"images of {name}": one for name, one in given.images.items()}
  return {name: digest(array) for name, array in arrays(given).items()} | images


def versions() -> dict[str, str]:
  """Return the versions of what computes the numbers."""
  found = {"python": platform.python_version(), "jaxmu": jaxmu.__version__}
  return found | {name: metadata.version(name) for name in PACKAGES}


def verify(path: str | Path) -> Verification:
  """Compute all numbers of an evidence.json again from the arrays beside it, and compare.

  Found are: a byte of the file that is not what was written, an array with another SHA-256, a
  number that the arrays do not give. Numbers may differ by 1e-9. What a file cannot prove: that the
  logits are those of the models, and the sets what they are called.

  Args:
    path: evidence.json, or the folder that holds it and evidence.npz.

  Raises:
    StoreError: a file is absent, or no evidence at all.
  """
  path = Path(path)
  path = path / EVIDENCE if path.is_dir() else path
  stored, mismatches = _read(path)
  notes = [
    f"{name} {version} in the file, {now} here"
    for name, now in versions().items()
    for version in [stored["versions"].get(name, "none")]
    if version != now
  ]
  found = _arrays(path.parent / ARRAYS)
  mismatches += _of_arrays(stored["inputs"], found)
  if stored["shared_images"] is not None:
    notes.append("images are not in the evidence: their hashes and what they share is as recorded")
  try:
    again = _again(stored, found)
  except UserError as error:
    mismatches.append(f"the arrays cannot be evaluated: {error}")
  else:
    mismatches += _apart("", stored["results"], results(again))
  return Verification(tuple(mismatches), tuple(notes))


def read_arrays(found: Mapping[str, np.ndarray]) -> Given:
  """Return arrays of `arrays` as what was given.

  Raises:
    DataError: they do not belong together.
  """
  of = lambda names: {name: found[name] for name in names if name in found}
  return whole(of(MODELS), found["labels"], of(SETS))


def _again(stored: Mapping[str, Any], found: Mapping[str, np.ndarray]) -> Evaluation:
  missing = [n for n in ("original", "unlearned", "labels", *SETS[:3]) if n not in found]
  if missing:
    raise StoreError(f"{ARRAYS} has no {missing[0]}")
  given, shared = read_arrays(found), stored["shared_images"]
  if shared is not None:
    given = given._replace(shared=_shared(shared))
  return result.measure(given, verdict.thresholds(stored["thresholds"]))


def _shared(stored: list[Any]) -> tuple[Shared, ...]:
  kinds = Shared.__annotations__
  for one in stored:
    if not isinstance(one, dict) or {key: type(value) for key, value in one.items()} != kinds:
      raise StoreError(f"shared_images has {shown(one)}; expected {', '.join(kinds)}")
  return tuple(Shared(**one) for one in stored)


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
  """Read the file, whatever became of its seal."""
  try:
    stored, mismatches = files.read_sealed(path), []
  except StoreError:
    with _given():
      stored = files.read_json(path)
    mismatches = [f"{path.name} does not have its SHA-256: it was changed after it was written"]
  if not isinstance(stored, dict) or not all(
    part in stored and isinstance(stored[part], form) for part, form in PARTS.items()
  ):
    raise StoreError(f"{path} is no evidence of an evaluation; expected what .report() writes")
  if stored["format"] != FORMAT:
    raise StoreError(f"{path} has format {stored['format']}; this version reads {FORMAT}")
  return stored, mismatches


def _arrays(path: Path) -> dict[str, np.ndarray]:
  with _given(), files.reading(path), np.load(path, allow_pickle=False) as file:
    return dict(file)


@contextmanager
def _given() -> Iterator[None]:
  """Leave out of an error that a file can be made again: who verifies one was given it."""
  try:
    yield
  except StoreError as error:
    what = str(error).partition("; ")[0]
    raise StoreError(f"{what}; expected what .report() writes") from error


def _of_arrays(stored: Mapping[str, Any], found: Mapping[str, np.ndarray]) -> Iterator[str]:
  known = {name: one for name, one in stored.items() if not name.startswith("images of ")}
  for name in dict.fromkeys([*known, *found]):
    if name not in found or name not in known:
      where = ARRAYS if name not in found else EVIDENCE
      yield f"{name}: not in {where}"
    elif (now := digest(found[name])) != known[name]:
      said = known[name].get("sha256") if isinstance(known[name], dict) else known[name]
      yield f"{name}: SHA-256 {str(said)[:12]} in the file, {now['sha256'][:12]} found"


def _named(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
  """Return rows by what they are about: "unlearned T_MIA" -> columns."""
  about = [name for name in ("method", "other", "seed", "attack", "metric") if name in table]
  rows = table.to_dict("records")
  return {" ".join(str(row[name]) for name in about): row for row in rows}


def _plain(value: Any) -> Any:
  """Replace what JSON cannot say: NaN by null, infinities by words."""
  if isinstance(value, Mapping):
    return {key: _plain(each) for key, each in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(each) for each in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None if math.isnan(value) else str(value)
  return value


def _apart(name: str, stored: Any, now: Any) -> Iterator[str]:
  """Yield a line for every value in which two trees differ."""
  if isinstance(stored, dict) and isinstance(now, dict):
    for key in dict.fromkeys([*stored, *now]):
      where = f"{name}: {key}" if name else key
      yield from _apart(where, stored.get(key), now.get(key))
  elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
    for k, pair in enumerate(zip(stored, now)):
      yield from _apart(f"{name} {k}", *pair)
  elif not _same(stored, now):
    yield f"{name}: {json.dumps(stored)} in the file, {json.dumps(now)} from the arrays"


def _same(stored: Any, now: Any) -> bool:
  numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (stored, now))
  if numbers:
    return math.isclose(stored, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
  return type(stored) is type(now) and stored == now
