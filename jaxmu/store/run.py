"""The run directory: every file is written whole or not at all, and read back by name.

    config.json  manifest.json  members.json  log.jsonl  stages/  legs/     (`store.record`)
    rows.parquet  curves.parquet  timings.json ...  results.json  report.*

Any number of processes write to a run, and read it. What the report reads are results: their sizes
and digests stand in results.json, and they are verified when they are read.
"""

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from jaxmu.errors import SettingsError, StoreError
from jaxmu.store import attempts, files, typed_json
from jaxmu.store.manifest import DatasetOrigin, Manifest, MethodDescription

if TYPE_CHECKING:
  import pandas as pd

  from jaxmu.data import Dataset

T = TypeVar("T")
PAUSE = 0.2  # seconds between two tries to write results
CONFIG, MANIFEST, RESULTS = "config.json", "manifest.json", "results.json"
PAGE = "report.html"


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
    self._results: list[str] = []

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
    another hash or identity is refused. A re-opened run keeps the manifest that it began with, but
    for what makes it larger, and takes the new config.

    Raises:
      StoreError: the folder cannot be written, or holds another experiment.
    """
    path = directory(root, name, hash8)
    given = Experiment(hash8, files.plain(identity or {}), files.plain(config))
    try:
      path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise StoreError(
        f"cannot make the run directory {path}: {error.strerror}; give another --config.output_dir"
      ) from None
    if (path / CONFIG).exists():
      _check_identity(path, typed_json.load_sealed(Experiment, path / CONFIG), given)
    # Of several processes that make a run at once, one writes the manifest, and all read it.
    files.write_new(path / MANIFEST, lambda file: file.write(files.sealed(manifest)))
    first = typed_json.load_sealed(Manifest, path / MANIFEST)
    check_same_data(path, first.dataset, manifest.dataset)
    found = first.grown(manifest)
    if found != first:
      files.write_sealed(path / MANIFEST, found)
    # Last: a directory is a run once this file exists.
    files.write_sealed(path / CONFIG, given)
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
    experiment = typed_json.load_sealed(Experiment, path / CONFIG)
    return cls(path, experiment.config, typed_json.load_sealed(Manifest, path / MANIFEST))

  @contextmanager
  def writing_results(self) -> Iterator[None]:
    """Write results; they count once all are written."""
    (self.path / RESULTS).unlink(missing_ok=True)
    self._results = []
    yield
    # With what they were made: a report of other settings would be wrong.
    folder, found = self.path, [*self._results, CONFIG, MANIFEST]
    listed = {p.name: (p.stat().st_size, files.sha256(p)) for p in map(folder.joinpath, found)}
    files.write_sealed(folder / RESULTS, listed)

  @contextmanager
  def alone(self) -> Iterator[bool]:
    """Be the only process that writes results and report.

    Yields:
      Whether another process has just done so, with this config, while this one waited.
    """
    waited = False
    while True:
      with attempts.lock(self.path / ".lock") as free:
        if free:
          yield waited and self.whole
          return
      waited = True
      time.sleep(PAUSE)

  @property
  def whole(self) -> bool:
    """Whether all results are there, of the present config and manifest."""
    try:
      files.verify(self.path, self._listed())
    except StoreError:
      return False
    return True

  @property
  def reported(self) -> bool:
    """Whether there is a report of these results; its page is written last."""
    return self.whole and (self.path / PAGE).is_file()

  def grow(self, methods: Mapping[str, MethodDescription]) -> None:
    """Describe methods in the manifest that a study came to only when it saw results."""
    grown = dataclasses.replace(self.manifest, methods=methods)
    if grown != self.manifest:
      self.manifest = grown
      files.write_sealed(self.path / MANIFEST, grown)

  def write_json(self, name: str, value: Any) -> None:
    """Write a result, also a record or a mapping of records, to the file `name`."""
    files.write_json(self._writing(name), value)

  def record(self, kind: type[T], name: str) -> T:
    """Read the file `name` as a value of type `kind`; StoreError if it holds something else."""
    return typed_json.load(kind, self._reading(name))

  def write_array(self, name: str, array: np.ndarray) -> None:
    """Write an array to `name`.npy."""
    files.write_array(self._writing(f"{name}.npy"), array)

  def array(self, name: str, mmap: bool = True) -> np.ndarray:
    """Read `name`.npy, memory-mapped unless told otherwise; StoreError if absent or damaged."""
    path = self._reading(f"{name}.npy")
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
    files.write_table(self._writing(f"{name}.parquet"), rows, order)

  def table(self, name: str) -> "pd.DataFrame":
    """Read `name`.parquet; StoreError if it is absent or damaged."""
    import pyarrow.parquet

    path = self._reading(f"{name}.parquet")
    with files.reading(path):
      return pyarrow.parquet.read_table(path).to_pandas()

  def log(self, event: Mapping[str, Any]) -> None:
    """Append one event to log.jsonl, with the time in seconds since 1970."""
    line = {"time": round(time.time(), 3)} | dict(event)
    files.append_line(self.path / "log.jsonl", json.dumps(line, default=files.plain_value))

  def events(self) -> list[dict[str, Any]]:
    """Return the events of log.jsonl, leaving out lines that a kill tore."""
    return files.read_lines(self.path / "log.jsonl")

  def has(self, name: str) -> bool:
    """Tell whether `name` is one of the results; one that was lost since still is."""
    return name in self._listed()

  def _writing(self, name: str) -> Path:
    self._results.append(name)
    return self.path / name

  def _reading(self, name: str) -> Path:
    """Return the path of a result that is as it was written; StoreError else."""
    listed = self._listed()
    for each in (CONFIG, MANIFEST, name):
      try:
        files.verify(self.path, {each: listed[each]})
      except (StoreError, KeyError):
        raise StoreError(
          f"{self.path / each} is not what this run wrote; run the same command again, which makes "
          "it anew"
        ) from None
    return self.path / name

  def _listed(self) -> dict[str, tuple[int, str]]:
    """Return size and SHA-256 of every result, by name; StoreError where there are none."""
    if not (self.path / RESULTS).is_file():
      raise StoreError(f"{self.path} has no results yet; run the same command again to make them")
    return typed_json.load_sealed(dict[str, tuple[int, str]], self.path / RESULTS)


def _check_identity(path: Path, stored: Experiment, given: Experiment) -> None:
  """Refuse a directory of another experiment, naming the first setting that differs."""
  pairs = [("hash", stored.hash, given.hash)]
  old, new = stored.identity, given.identity
  if old and new:
    pairs += [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
  for key, before, now in pairs:
    if before != now:
      raise StoreError(
        f"{path / CONFIG} is of another experiment: its {key} is {before!r}, not {now!r}; delete it"
        " and run the same command again, or give another --config.output_dir"
      )


def check_same_data(path: Path, before: DatasetOrigin, present: "DatasetOrigin | Dataset") -> None:
  """Refuse to go on with a run whose data, or how networks read them, were others; StoreError."""
  if before.sha256 != present.sha256:
    differs = f"sha256 {before.sha256[:12]}, now {present.sha256[:12]}"
  elif before.transform and before.transform != present.transform:
    differs = f"read with {before.transform}, now with {present.transform}"
  else:
    return
  raise StoreError(
    f"{path} was made with another dataset ({differs}); choose another --config.output_dir, or "
    "restore the data"
  )


def directory(output_dir: str | Path, name: str, hash8: str) -> Path:
  """Return where a run is or will be; SettingsError where no folder can be made."""
  run = Path(output_dir) / f"{name}-{hash8}"
  try:
    existing = next((path for path in (run, *run.parents) if path.exists()), run)
    blocked = existing.is_file()
  except OSError as error:
    raise SettingsError(
      f"config.output_dir is '{run.parent}', which cannot be read: {error.strerror}; give another "
      "folder"
    ) from None
  if blocked:
    raise SettingsError(
      f"config.output_dir is '{run.parent}', but {existing} is a file; give a folder that exists "
      "or can be made"
    )
  return run
