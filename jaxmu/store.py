"""The run directory: every file is written whole or not at all, and read back by name.

    config.json  manifest.json  stages/<stage>.json  timings.json  log.jsonl  report.*
    state/<stage>/  legs/<stage>/<number>/  logits/<stage>.npy  rows.parquet  curves.parquet

One process writes to a run at a time (`Run.lock`); any number may read it.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import pandas as pd

from jaxmu.errors import StoreError

COLUMNS = (
  *("method", "seed", "finite", "failed_steps", "RA", "FA", "VA", "TA", "TA_clean"),
  *("loss_retain", "loss_forget", "loss_val", "loss_test", "V_MIA", "T_MIA", "V_AUC", "T_AUC"),
  *("RR", "FR", "TR", "RetDev", "Disc", "Indisc", "V_Indisc", "SAPE_forget"),
  *("RTE_work", "passes", "l2_original", "l2_retrained", "rel_original", "rel_retrained"),
  *("nl2_original", "nl2_retrained", "norm"),
)


class Run:
  """A run directory `path` with its `config` and `manifest`."""

  def __init__(self, path: Path, config: dict, manifest: dict):
    self.path, self.config, self.manifest = path, config, manifest

  @classmethod
  def create(
    cls,
    root: str | Path,
    name: str,
    hash8: str,
    config: Mapping,
    manifest: Mapping,
    *,
    identity: Mapping | None = None,
  ) -> Self:
    """Make or re-open `root/name-hash8`.

    `identity` is the part of the config that changes the numbers (by default all of it): a
    directory that was made with another identity is refused. A re-opened run keeps the manifest
    that it began with, and takes the new config.

    Raises:
      StoreError: the folder cannot be written, or holds another experiment.
    """
    path = Path(root) / f"{name}-{hash8}"
    config, manifest = _plain(config), _plain(manifest)
    identity = config if identity is None else _plain(identity)
    run = cls(path, config, manifest)
    try:
      path.mkdir(parents=True, exist_ok=True)
      if (path / "config.json").exists():
        run.manifest = run.read_json("manifest.json")
        _check_identity(path, run.read_json("config.json").get("identity", {}), identity)
      else:
        run.write_json("manifest.json", manifest)
      # Last: a directory is a run once this file exists.
      run.write_json("config.json", {"config": config, "identity": identity})
    except OSError as error:
      raise StoreError(
        f"cannot write the run directory {path}: {error.strerror}; choose another --config.output_dir"
      ) from None
    return run

  @classmethod
  def open(cls, path: str | Path) -> Self:
    """Open an existing run to read it.

    Raises:
      StoreError: `path` is not a run directory.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
      raise StoreError(f"{path} is not a run directory (it has no config.json)")
    run = cls(path, {}, {})
    stored = run.read_json("config.json")
    if not isinstance(stored, dict) or "config" not in stored:
      raise StoreError(f"{path / 'config.json'} is not the config of a run")
    run.config, run.manifest = stored["config"], run.read_json("manifest.json")
    return run

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

  def mark(self, stage: str, **info) -> None:
    """Mark a stage as finished: the last thing that it writes."""
    write_json(self._marker(stage), {"stage": stage} | info)

  def marker(self, stage: str) -> dict:
    """Return what `mark` stored."""
    return self.read_json(f"stages/{stage}.json")

  def unmark(self, stage: str) -> None:
    """Take the mark away, so that the stage runs again."""
    self._marker(stage).unlink(missing_ok=True)

  def stages(self) -> list[str]:
    """Return the names of the finished stages, sorted."""
    return sorted(path.stem for path in (self.path / "stages").glob("[!.]*.json"))

  def write_json(self, name: str, value: Any) -> None:
    """Write `value` to the file `name`."""
    write_json(self.path / name, value)

  def read_json(self, name: str) -> Any:
    """Read the file `name`; StoreError if it is absent or damaged."""
    return read_json(self.path / name)

  def write_array(self, name: str, array: np.ndarray) -> None:
    """Write an array to `name`.npy, e.g. "logits/ft"."""
    _replace(self._array(name), lambda file: np.save(file, np.asarray(array), allow_pickle=False))

  def array(self, name: str, mmap: bool = True) -> np.ndarray:
    """Read `name`.npy, memory-mapped unless told otherwise; StoreError if absent or damaged."""
    path = self._array(name)
    with _reading(path):
      return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)

  def write_rows(self, rows: Sequence[Mapping]) -> None:
    """Write the result rows, one per method and seed, to rows.parquet."""
    self.write_table("rows", rows)

  def rows(self) -> pd.DataFrame:
    """Read the result rows."""
    return self.table("rows")

  def write_table(self, name: str, rows: Sequence[Mapping]) -> None:
    """Write rows to `name`.parquet; equal rows give equal bytes.

    Known columns come first, in the order of `COLUMNS`, then others in the order of the first row.
    """
    import pyarrow.parquet

    table = _arrow(rows)
    _replace(
      self.path / f"{name}.parquet",
      lambda file: pyarrow.parquet.write_table(table, file, compression="zstd", version="2.6"),
    )

  def table(self, name: str) -> pd.DataFrame:
    """Read `name`.parquet; StoreError if it is absent or damaged."""
    import pyarrow.parquet

    path = self.path / f"{name}.parquet"
    with _reading(path):
      return pyarrow.parquet.read_table(path).to_pandas()

  def log(self, event: Mapping) -> None:
    """Append one event to log.jsonl, with the time in seconds since 1970."""
    line = json.dumps({"time": round(time.time(), 3)} | dict(event), default=_plain_value)
    path = self.path / "log.jsonl"
    torn = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
      file.write(("\n" if torn else "") + line + "\n")

  def events(self) -> list[dict]:
    """Return the events of log.jsonl, leaving out lines that a kill tore."""
    path = self.path / "log.jsonl"
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
      try:
        found.append(json.loads(line))
      except json.JSONDecodeError:
        continue
    return found

  def _marker(self, stage: str) -> Path:
    return self.path / "stages" / f"{stage}.json"

  def _array(self, name: str) -> Path:
    return self.path / f"{name.removesuffix('.npy')}.npy"


def write_json(path: Path, value: Any) -> None:
  """Write `value` as JSON, whole or not at all; NumPy numbers and arrays become plain ones."""
  text = json.dumps(value, indent=1, sort_keys=True, default=_plain_value)
  _replace(path, lambda file: file.write(text.encode() + b"\n"))


def read_json(path: Path) -> Any:
  """Read a JSON file.

  Raises:
    StoreError: it is absent or damaged.
  """
  with _reading(path):
    return json.loads(path.read_text())


def sync_directory(path: Path) -> None:
  """Make renames inside a directory survive a power cut."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
  """Write beside `path`, then rename: readers see the old file or the new one.

  The temporary name is fixed, so the next writer overwrites what a killed one left.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.tmp")
  with temporary.open("wb") as file:
    write(file)
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)
  sync_directory(path.parent)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
  """Turn what readers raise on absent or damaged files into one line."""
  try:
    yield
  except FileNotFoundError:
    raise StoreError(f"{path} does not exist; run the same command again to make it") from None
  except (OSError, ValueError, EOFError) as error:  # pyarrow's ArrowInvalid is a ValueError
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise StoreError(
      f"{path} is damaged ({reason}); delete it and run the same command again"
    ) from None


def _arrow(rows: Sequence[Mapping]):
  """Build an Arrow table with four column types: bool, int64, string, and float64 for the rest."""
  import pyarrow as pa

  names = list(dict.fromkeys(name for row in rows for name in row))
  names = [c for c in COLUMNS if c in names] + [c for c in names if c not in COLUMNS]
  arrays = []
  for name in names:
    values = [_plain_value(row.get(name)) for row in rows]
    kinds = {type(value) for value in values}
    kind = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}.get(kinds.pop()) if len(kinds) == 1 else None
    if kind is None:
      kind = pa.float64()
      values = [float("nan") if value is None else float(value) for value in values]
    arrays.append(pa.array(values, kind))
  return pa.table(arrays, names=names)


def _plain(value: Mapping) -> dict:
  """Return what reading the value back from JSON gives (lists for tuples)."""
  return json.loads(json.dumps(dict(value), default=_plain_value))


def _plain_value(value: Any) -> Any:
  if isinstance(value, np.generic | np.ndarray):
    return value.tolist()
  if isinstance(value, Path):
    return str(value)
  if isinstance(value, bool | int | float | str | None):
    return value
  raise TypeError(f"cannot store a {type(value).__name__} in a run: {value!r}")


def _check_identity(path: Path, stored: Mapping, given: Mapping) -> None:
  for key in sorted(stored.keys() | given.keys()):
    if stored.get(key) != given.get(key):
      raise StoreError(
        f"{path} holds another experiment: its {key} is {stored.get(key)!r}, not"
        f" {given.get(key)!r}; delete it or choose another --config.output_dir"
      )
