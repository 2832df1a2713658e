"""What the report of a study is made of, read once from its run directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from jaxmu.audit.results import SAMPLE_NUMBERS, Cell, StudyResults, cells
from jaxmu.audit.text import listing
from jaxmu.errors import StoreError
from jaxmu.report.data import RunData, check_methods, reported_config, timings

_COLUMNS = {  # words, numbers
  "exposure": (("method", "question", "statistic"), ("value", "low", "high")),
  "samples": (("method",), SAMPLE_NUMBERS),
  "roc": (("method",), ("fpr", "tpr")),
}


@dataclass(frozen=True)
class Exposed:
  """Thumbnails of samples, uint8 [n, H, W, 1 or 3], with their indices and labels, all [n]."""

  samples: tuple[int, ...] = ()
  labels: tuple[int, ...] = ()
  original_labels: tuple[int, ...] = ()
  images: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class StudyData(RunData, StudyResults):
  """Everything the report shows."""

  roc: Mapping[str, pd.DataFrame]  # by method
  timings: Mapping[str, Mapping[str, float]]
  exposed: Exposed = Exposed()


def from_run(run) -> StudyData:
  """Read a `jaxmu.store.Run`; timings and thumbnails may be absent.

  Raises:
    StoreError: a table or study.json is absent, damaged, or lacks something.
  """
  study = _study(run)
  found = _cells(run, int(study["splits"]))
  check_methods(run, "exposure.parquet", dict.fromkeys(method for method, _, _ in found))
  return StudyData(
    config=reported_config(run),
    manifest=run.manifest,
    timings=timings(run),
    cells=found,
    samples=_by_method(_table(run, "samples")),
    roc=_by_method(_table(run, "roc")),
    study=study,
    exposed=_exposed(run),
  )


def _study(run) -> dict:
  found = run.read_json("study.json")
  wanted = ("splits", "forgets", "models")
  lost = [k for k in wanted if not isinstance(found, dict) or not isinstance(found.get(k), int)]
  if lost:
    raise _damaged(run, "study.json", f"it has no number for {listing(lost)}")
  return found


def _cells(run, splits: int) -> dict[tuple[str, str, str], Cell]:
  """Read exposure.parquet; values that are NaN or infinite are as good as absent."""
  table = _table(run, "exposure")
  keys = ["method", "question", "statistic"]
  twice = table[table.duplicated(keys)]
  if len(twice):
    raise _damaged(run, "exposure.parquet", f"{', '.join(twice.iloc[0][keys])} stands there twice")
  rows = table[[*keys, "value", "low", "high"]].itertuples(index=False)
  return cells({tuple(row[:3]): row[3:] for row in rows}, splits)


def _table(run, name: str) -> pd.DataFrame:
  table, (words, numbers) = run.table(name), _COLUMNS[name]
  lost = [column for column in (*words, *numbers) if column not in table]
  if lost:
    raise _damaged(run, f"{name}.parquet", f"it has no column {listing(lost)}")
  try:
    return table.astype({column: float for column in numbers})
  except (TypeError, ValueError) as error:
    raise _damaged(run, f"{name}.parquet", str(error).splitlines()[0]) from None


def _by_method(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
  return {str(name): part for name, part in table.groupby("method", sort=False)}


def _exposed(run) -> Exposed:
  if not (Path(run.path) / "exposed.json").exists():
    return Exposed()
  found, images = run.read_json("exposed.json"), run.array("exposed", mmap=False)
  names = ("samples", "labels", "original_labels")
  if not isinstance(found, dict) or any(not isinstance(found.get(n), list) for n in names):
    raise _damaged(run, "exposed.json", f"it must list {listing(names)}")
  _check_images(run, images, [len(found[name]) for name in names])
  return Exposed(*(tuple(int(v) for v in found[name]) for name in names), images)


def _check_images(run, images: np.ndarray, counts: Sequence[int]) -> None:
  wanted = images.ndim == 4 and images.shape[-1] in (1, 3) and images.dtype == np.uint8
  if not wanted or set(counts) != {len(images)}:
    found = f"{images.dtype} {images.shape} does not fit exposed.json with {max(counts)} samples"
    raise _damaged(run, "exposed.npy", f"{found}; expected uint8 [n, H, W, 1 or 3]")


def _damaged(run, name: str, reason: str) -> StoreError:
  where = Path(run.path) / name
  return StoreError(f"{where} is damaged ({reason}); delete it and run the same command again")
