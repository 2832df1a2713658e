"""What a report is made of, read once from a run directory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from jaxmu.audit.results import (
  DIFFERENCE_COLUMNS,
  INTERVAL_COLUMNS,
  Described,
  Results,
  empty,
)
from jaxmu.report.marks import mark

CURVE_COLUMNS = ("stage", "phase", "seed", "epoch", "loss", "accuracy", "learning_rate")


@dataclass(frozen=True, kw_only=True)
class RunData(Described):
  """What a report of any kind says about the run behind it."""

  title: str
  settings: Mapping[str, Any]
  manifest: Mapping[str, Any]
  timings: Mapping[str, Mapping[str, float]]
  methods: Mapping[str, Mapping[str, Any]]
  date: str = ""

  @property
  def random_labels(self) -> float:
    """Share of all samples that were given a random label, in [0, 1]."""
    return float(self.settings.get("data", {}).get("random_labels", 0.0))

  @property
  def chance(self) -> float:
    """Accuracy of guessing, 1 / classes; NaN where the manifest does not say."""
    classes = self.manifest.get("dataset", {}).get("num_classes", 0)
    return 1.0 / classes if classes else math.nan

  @property
  def device_count(self) -> int:
    """How many devices shared the population; 0 where the manifest does not say."""
    device = self.manifest.get("device")
    known = self.manifest.get("devices") or (device.get("count") if isinstance(device, dict) else 0)
    return int(known or 0)

  def label(self, method: str) -> str:
    """Return a method's name for readers."""
    return mark(method).label

  def needs(self, method: str) -> tuple[str, ...]:
    """Name the sets a method may touch, in a fixed order."""
    touched = self.methods.get(method, {}).get("needs", ())
    return tuple(name for name in ("retain", "forget", "val") if name in touched)


@dataclass(frozen=True, kw_only=True)
class ReportData(RunData, Results):
  """Everything the report shows; rows, curves and intervals as the run stores them."""

  curves: pd.DataFrame

  @property
  def bootstrap(self) -> int:
    return int(self.settings.get("evaluation", {}).get("bootstrap", 2000))

  @property
  def test_metric(self) -> str:
    """The column shown as test accuracy: clean labels only where some labels are random."""
    return "TA_clean" if self.random_labels > 0 and "TA_clean" in self.rows else "TA"

  @property
  def split_sizes(self) -> Mapping[str, int]:
    return self.manifest.get("split", {}).get("sizes", {})


def from_run(run) -> ReportData:
  """Read a `jaxmu.store.Run`; curves and timings may be absent, rows may not."""
  tables = {
    "curves": _optional(run, "curves", CURVE_COLUMNS),
    "intervals": _optional(run, "intervals", INTERVAL_COLUMNS),
    "differences": _optional(run, "differences", DIFFERENCE_COLUMNS),
  }
  return ReportData(**described(run), rows=run.rows(), **tables)


def described(run) -> dict[str, Any]:
  """Return the fields of RunData of a `jaxmu.store.Run`; timings may be absent."""
  return {
    "title": str(run.config.get("name") or Path(run.path).name),
    "settings": run.config,
    "manifest": run.manifest,
    "timings": _timings(run),
    "methods": run.manifest.get("methods", {}),
    "date": _date(run),
  }


def _optional(run, name: str, columns: Sequence[str]) -> pd.DataFrame:
  return run.table(name) if (Path(run.path) / f"{name}.parquet").exists() else empty(columns)


def _date(run) -> str:
  """Take the manifest's date, else the time of the first event in the log; never today's."""
  if run.manifest.get("date"):
    return str(run.manifest["date"])
  times = [event["time"] for event in run.events() if "time" in event]
  moment = datetime.fromtimestamp(min(times), UTC) if times else None
  return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else ""


def _timings(run) -> dict:
  return run.read_json("timings.json") if (Path(run.path) / "timings.json").exists() else {}
