"""What the report of a study is made of, read once from its run directory."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jaxmu.audit.results import SAMPLE_NUMBERS, Cell, StudyResults, cells
from jaxmu.audit.text import listing
from jaxmu.report.source import RunData, check_methods, reported_config, timings
from jaxmu.store import Run, files
from jaxmu.store.records import ExposedRecord, StudyRecord

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
  """Everything the report shows; `study` is `record` as judgements read it."""

  roc: Mapping[str, pd.DataFrame]  # by method
  record: StudyRecord
  exposed: Exposed = Exposed()


def from_run(run: Run) -> StudyData:
  """Read a `jaxmu.store.Run`; timings and thumbnails may be absent.

  Raises:
    StoreError: a table or study.json is absent, damaged, or lacks something.
  """
  study = run.record(StudyRecord, "study.json")
  found = _cells(run, study.splits)
  check_methods(run, "exposure.parquet", dict.fromkeys(method for method, _, _ in found))
  return StudyData(
    config=reported_config(run),
    manifest=run.manifest,
    timings=timings(run),
    cells=found,
    samples=_by_method(_table(run, "samples")),
    roc=_by_method(_table(run, "roc")),
    study=files.plain(study),
    record=study,
    exposed=_exposed(run),
  )


def _cells(run: Run, splits: int) -> dict[tuple[str, str, str], Cell]:
  """Read exposure.parquet; values that are NaN or infinite are as good as absent."""
  table = _table(run, "exposure")
  keys = ["method", "question", "statistic"]
  twice = table[table.duplicated(keys)]
  if len(twice):
    reason = f"{', '.join(twice.iloc[0][keys])} stands there twice"
    raise files.damaged(run.path / "exposure.parquet", reason)
  rows = table[[*keys, "value", "low", "high"]].itertuples(index=False)
  return cells({tuple(row[:3]): row[3:] for row in rows}, splits)


def _table(run: Run, name: str) -> pd.DataFrame:
  table, (words, numbers) = run.table(name), _COLUMNS[name]
  lost = [column for column in (*words, *numbers) if column not in table]
  if lost:
    raise files.damaged(run.path / f"{name}.parquet", f"it has no column {listing(lost)}")
  try:
    return table.astype({column: float for column in numbers})
  except (TypeError, ValueError) as error:
    raise files.damaged(run.path / f"{name}.parquet", str(error).splitlines()[0]) from None


def _by_method(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
  return {str(name): part for name, part in table.groupby("method", sort=False)}


def _exposed(run: Run) -> Exposed:
  if not run.has("exposed.json"):
    return Exposed()
  known, images = run.record(ExposedRecord, "exposed.json"), run.array("exposed", mmap=False)
  counts = {len(known.samples), len(known.labels), len(known.original_labels)}
  wanted = images.ndim == 4 and images.shape[-1] in (1, 3) and images.dtype == np.uint8
  if not wanted or counts != {len(images)}:
    found = f"{images.dtype} {images.shape} does not fit exposed.json with {max(counts)} samples"
    reason = f"{found}; expected uint8 [n, H, W, 1 or 3]"
    raise files.damaged(run.path / "exposed.npy", reason)
  return Exposed(known.samples, known.labels, known.original_labels, images)
