"""What the report of a benchmark is made of, read once from its run directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from jaxmu.audit import cautions, draws, variance
from jaxmu.audit.breakdown import CLASS_COLUMNS, CONFUSION_COLUMNS, ROC_COLUMNS
from jaxmu.audit.results import DIFFERENCE_COLUMNS, INTERVAL_COLUMNS, Results, empty
from jaxmu.audit.rules import Caution
from jaxmu.audit.summary import Summary, summarise
from jaxmu.report.source import RunData, check_methods, reported_config, timings
from jaxmu.store import Run

CURVE_COLUMNS = ("stage", "phase", "seed", "epoch", "loss", "accuracy", "learning_rate")

ROUND_COLUMNS = (draws.ROUND, *INTERVAL_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class ReportData(RunData, Results):
  """Everything the report shows; after the last round, where a request comes in rounds."""

  curves: pd.DataFrame
  classes: pd.DataFrame = field(default_factory=lambda: empty(CLASS_COLUMNS))
  roc: pd.DataFrame = field(default_factory=lambda: empty(ROC_COLUMNS))
  rounds: pd.DataFrame = field(default_factory=lambda: empty(ROUND_COLUMNS))
  confusion: pd.DataFrame = field(default_factory=lambda: empty(CONFUSION_COLUMNS))
  variance: pd.DataFrame = field(default_factory=lambda: empty(variance.COLUMNS))

  @property
  def bootstrap(self) -> int:
    return self.config.evaluation.bootstrap

  @property
  def split_per_seed(self) -> bool:
    return self.manifest.split.per_seed

  @property
  def split_sizes(self) -> Mapping[str, int]:
    return self.manifest.split.sizes


class Judged(NamedTuple):
  """A benchmark with its numbers over seeds and what would mislead in them."""

  data: ReportData
  summary: Summary
  cautions: tuple[Caution, ...]


def judge(data: ReportData) -> Judged:
  """Aggregate and look for what would mislead."""
  summary = summarise(data)
  return Judged(data, summary, tuple(cautions.find(data, summary)))


def from_run(run: Run) -> ReportData:
  """Read a run; all tables but the rows may be absent.

  Raises:
    StoreError: something is damaged, or the rows and the manifest are of different runs.
  """
  members = run.rows()
  check_methods(run, "rows.parquet", members["method"].unique())
  last = lambda name, columns: draws.of_last_round(_optional(run, name, columns))
  return ReportData(
    config=reported_config(run),
    manifest=run.manifest,
    rows=draws.per_seed(draws.of_last_round(members)),
    members=draws.of_last_round(members),
    rounds=_optional(run, "rounds", ROUND_COLUMNS),
    curves=last("curves", CURVE_COLUMNS),
    classes=last("classes", CLASS_COLUMNS),
    roc=last("roc", ROC_COLUMNS),
    confusion=last("confusion", CONFUSION_COLUMNS),
    variance=_optional(run, "variance", variance.COLUMNS),
    intervals=_optional(run, "intervals", INTERVAL_COLUMNS),
    differences=_optional(run, "differences", DIFFERENCE_COLUMNS),
    timings=timings(run),
  )


def _optional(run: Run, name: str, columns: Sequence[str]) -> pd.DataFrame:
  return run.table(name) if run.has(f"{name}.parquet") else empty(columns)
