"""What a report is made of, read once from a run directory."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from jaxmu.audit.results import (
  DIFFERENCE_COLUMNS,
  INTERVAL_COLUMNS,
  Described,
  Results,
  empty,
)
from jaxmu.errors import StoreError
from jaxmu.report.marks import Mark, assign
from jaxmu.store import Run, typed_json
from jaxmu.store.groups import Cost
from jaxmu.store.manifest import Manifest
from jaxmu.store.run import CONFIG, MANIFEST

T = TypeVar("T")
TIMINGS = "timings.json"
CURVE_COLUMNS = ("stage", "phase", "seed", "epoch", "loss", "accuracy", "learning_rate")


@dataclass(frozen=True)
class ReportedModel:
  """Which network, with its options; `width` is read by "cnn" only."""

  name: str
  width: int
  lowering: str


@dataclass(frozen=True)
class ReportedLabels:
  """Share of all samples that were given a random label, in [0, 1]."""

  random_labels: float


@dataclass(frozen=True)
class ReportedEvaluation:
  """How often seeds are resampled for intervals."""

  bootstrap: int


@dataclass(frozen=True)
class ReportedConfig:
  """What a report says of a run's config."""

  name: str
  data: ReportedLabels
  model: ReportedModel
  training: Mapping[str, Any]
  evaluation: ReportedEvaluation


@dataclass(frozen=True, kw_only=True)
class RunData(Described):
  """What a report of any kind says about the run behind it."""

  config: ReportedConfig
  manifest: Manifest

  @property
  def title(self) -> str:
    return self.config.name

  @property
  def random_labels(self) -> float:
    """Share of all samples that were given a random label, in [0, 1]."""
    return self.config.data.random_labels

  @property
  def chance(self) -> float:
    """Accuracy of guessing, 1 / classes."""
    return 1.0 / self.manifest.dataset.num_classes

  @functools.cached_property
  def marks(self) -> Mapping[str, Mark]:
    """Label, colour and marker of every method, the same in all figures and tables."""
    return assign(self.manifest.methods)

  def label(self, method: str) -> str:
    """Return a method's name for readers."""
    return self.marks[method].label

  def needs(self, method: str) -> tuple[str, ...]:
    """Name the sets a method may touch, in a fixed order."""
    touched = self.manifest.methods[method].needs
    return tuple(name for name in ("retain", "forget", "val") if name in touched)


@dataclass(frozen=True, kw_only=True)
class ReportData(RunData, Results):
  """Everything the report shows; rows, curves and intervals as the run stores them."""

  curves: pd.DataFrame
  timings: Mapping[str, Cost]

  @property
  def bootstrap(self) -> int:
    return self.config.evaluation.bootstrap

  @property
  def test_metric(self) -> str:
    """The column shown as test accuracy: clean labels only where some labels are random."""
    return "TA_clean" if self.random_labels > 0 and "TA_clean" in self.rows else "TA"

  @property
  def split_sizes(self) -> Mapping[str, int]:
    return self.manifest.split.sizes


def from_run(run: Run) -> ReportData:
  """Read a run; curves, intervals, differences and timings may be absent, rows may not.

  Raises:
    StoreError: something is damaged, or the rows and the manifest are of different runs.
  """
  rows = run.rows()
  check_methods(run, "rows.parquet", rows["method"].unique())
  return ReportData(
    config=reported_config(run),
    manifest=run.manifest,
    rows=rows,
    curves=_optional(run, "curves", CURVE_COLUMNS),
    intervals=_optional(run, "intervals", INTERVAL_COLUMNS),
    differences=_optional(run, "differences", DIFFERENCE_COLUMNS),
    timings=timings(run, Cost),
  )


def reported_config(run: Run) -> ReportedConfig:
  """Read what a report says of a run's config; StoreError where a part of it is missing."""
  return typed_json.parse(ReportedConfig, run.config, run.path / CONFIG)


def check_methods(run: Run, name: str, methods: Iterable[str]) -> None:
  """Refuse a file with methods that the manifest does not describe: it is of another run."""
  unknown = [method for method in methods if method not in run.manifest.methods]
  if unknown:
    raise StoreError(
      f"{run.path / name} has method '{unknown[0]}', which {MANIFEST} beside it does not describe;"
      " both must come from one run: delete the file and run the same command again"
    )


def timings(run: Run, kind: type[T]) -> Mapping[str, T]:
  """Read what every stage cost, each as a value of type `kind`; it may be absent."""
  found = run.record(Mapping[str, kind], TIMINGS) if run.has(TIMINGS) else {}
  check_methods(run, TIMINGS, found)
  return found


def _optional(run: Run, name: str, columns: Sequence[str]) -> pd.DataFrame:
  return run.table(name) if run.has(f"{name}.parquet") else empty(columns)
