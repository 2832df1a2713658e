"""The run directory: every file is written whole or not at all, and read back by name.

    config.json  manifest.json  stages/<stage>.json  timings.json  log.jsonl  report.*
    state/<stage>/  legs/<stage>/<leg>/  logits/<stage>.npy  rows.parquet  curves.parquet

One process writes to a run at a time (`Run.lock`); any number may read it.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from jaxmu.errors import StoreError
from jaxmu.store import files, typed_json
from jaxmu.store.manifest import Manifest
from jaxmu.store.records import StageRecord

if TYPE_CHECKING:
  import pandas as pd

T = TypeVar("T")
CONFIG, MANIFEST = "config.json", "manifest.json"


@dataclass(frozen=True)
class Experiment:
  """The form of config.json: the checked settings, and the part of them that the hash covers."""

  hash: str
  identity: Mapping[str, Any]
  config: Mapping[str, Any]


class Run:
  """A run directory `path` with its `config` and `manifest`."""

  def __init__(self, path: Path, config: Mapping[str, Any], manifest: Manifest):
    self.path, self.config, self.manifest = path, config, manifest

  @classmethod
  def create(
    cls,
    root: str | Path,
    name: str,
    hash8: str,
    config: Mapping[str, Any],
    manifest: Manifest,
    *,
    identity: Mapping[str, Any] | None = None,
  ) -> Self:
    """Make or re-open `root/name-hash8`.

    `identity` is the part of the config that changes the numbers: a directory that was made with
    another hash or identity is refused. A re-opened run keeps the manifest that it began with, if
    it is there, and takes the new config.

    Raises:
      StoreError: the folder cannot be written, or holds another experiment.
    """
    path = Path(root) / f"{name}-{hash8}"
    given = Experiment(hash8, files.plain(identity or {}), files.plain(config))
    try:
      path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise StoreError(
        f"cannot make the run directory {path}: {error.strerror}; give another --config.output_dir"
      ) from None
    known = (path / CONFIG).exists()
    if known:
      _check_identity(path, typed_json.load(Experiment, path / CONFIG), given)
    if not (known and (path / MANIFEST).exists()):
      files.write_json(path / MANIFEST, manifest)
    found = typed_json.load(Manifest, path / MANIFEST)
    # Last: a directory is a run once this file exists.
    files.write_json(path / CONFIG, given)
    return cls(path, given.config, found)

  @classmethod
  def open(cls, path: str | Path) -> Self:
    """Open an existing run to read it.

    Raises:
      StoreError: `path` is not a run directory, or what it began with cannot be read.
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
      raise StoreError(f"{path} is not a run directory (it has no {CONFIG})")
    experiment = typed_json.load(Experiment, path / CONFIG)
    return cls(path, experiment.config, typed_json.load(Manifest, path / MANIFEST))

  @contextmanager
  def lock(self) -> Iterator[None]:
    """Hold the run for writing; a killed process releases it.

    Raises:
      StoreError: another process holds it.
    """
    import fcntl  # absent on Windows, where jaxmu is not tested

    with (self.path / ".lock").open("w") as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except OSError:
        raise StoreError(
          f"another process is writing to {self.path}; wait until it ends, or stop it"
        ) from None
      yield

  def state_path(self, stage: str) -> Path:
    """Return where the final checkpoint of a stage lies."""
    return self.path / "state" / stage

  def done(self, stage: str) -> bool:
    """Tell whether a stage is finished."""
    return self._marker(stage).is_file()

  def mark(self, record: StageRecord) -> None:
    """Mark a stage as finished: the last thing that it writes."""
    files.write_json(self._marker(record.stage), record)

  def marker(self, stage: str) -> StageRecord:
    """Return what `mark` stored.

    Raises:
      StoreError: it is absent or damaged, or of another stage or other members.
    """
    path = self._marker(stage)
    found = typed_json.load(StageRecord, path)
    if found.stage != stage:
      raise files.damaged(path, f"it is the marker of stage '{found.stage}'")
    if len(found.failures) != len(self.manifest.seeds):
      members = f"{len(found.failures)} members, the run has {len(self.manifest.seeds)}"
      raise files.damaged(path, f"'failures' lists {members}")
    return found

  def unmark(self, stage: str) -> None:
    """Take the mark away, so that the stage runs again."""
    self._marker(stage).unlink(missing_ok=True)

  def stages(self) -> list[str]:
    """Return the names of the finished stages, sorted."""
    return sorted(path.stem for path in (self.path / "stages").glob("[!.]*.json"))

  def write_json(self, name: str, value: Any) -> None:
    """Write `value`, also a record or a mapping of records, to the file `name`."""
    files.write_json(self.path / name, value)

  def read_json(self, name: str) -> Any:
    """Read the file `name`; StoreError if it is absent or damaged."""
    return files.read_json(self.path / name)

  def record(self, kind: type[T], name: str) -> T:
    """Read the file `name` as a value of type `kind`; StoreError if it holds something else."""
    return typed_json.load(kind, self.path / name)

  def write_array(self, name: str, array: np.ndarray) -> None:
    """Write an array to `name`.npy, e.g. "logits/ft"."""
    values = np.asarray(array)
    files.replace(self._array(name), lambda file: np.save(file, values, allow_pickle=False))

  def array(self, name: str, mmap: bool = True) -> np.ndarray:
    """Read `name`.npy, memory-mapped unless told otherwise; StoreError if absent or damaged."""
    path = self._array(name)
    with files.reading(path):
      return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)

  def write_rows(self, rows: Sequence[Mapping[str, Any]], order: Sequence[str] = ()) -> None:
    """Write the result rows, one per method and seed, to rows.parquet."""
    self.write_table("rows", rows, order)

  def rows(self) -> "pd.DataFrame":
    """Read the result rows."""
    return self.table("rows")

  def write_table(
    self, name: str, rows: Sequence[Mapping[str, Any]], order: Sequence[str] = ()
  ) -> None:
    """Write rows to `name`.parquet; equal rows give equal bytes.

    Columns named in `order` come first, then others in the order of the first row.
    """
    files.write_table(self.path / f"{name}.parquet", rows, order)

  def table(self, name: str) -> "pd.DataFrame":
    """Read `name`.parquet; StoreError if it is absent or damaged."""
    import pyarrow.parquet

    path = self.path / f"{name}.parquet"
    with files.reading(path):
      return pyarrow.parquet.read_table(path).to_pandas()

  def log(self, event: Mapping[str, Any]) -> None:
    """Append one event to log.jsonl, with the time in seconds since 1970."""
    line = {"time": round(time.time(), 3)} | dict(event)
    files.append_line(self.path / "log.jsonl", json.dumps(line, default=files.plain_value))

  def events(self) -> list[dict[str, Any]]:
    """Return the events of log.jsonl, leaving out lines that a kill tore."""
    return files.read_lines(self.path / "log.jsonl")

  def _marker(self, stage: str) -> Path:
    return self.path / "stages" / f"{stage}.json"

  def _array(self, name: str) -> Path:
    return self.path / f"{name.removesuffix('.npy')}.npy"


def _check_identity(path: Path, stored: Experiment, given: Experiment) -> None:
  """Refuse a directory of another experiment, naming the first setting that differs."""
  pairs = [("hash", stored.hash, given.hash)]
  old, new = stored.identity, given.identity
  if old and new:
    pairs += [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
  for key, before, now in pairs:
    if before != now:
      raise StoreError(
        f"{path} holds another experiment: its {key} is {before!r}, not {now!r}; delete it or give"
        " another --config.output_dir"
      )
