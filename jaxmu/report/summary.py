"""Numbers over seeds: cells of the tables, the order of the methods, and which are best."""

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from jaxmu.audit import statistics
from jaxmu.report.data import LEVEL, REFERENCES, ReportData

STATISTICS = ("n", "mean", "sd", "median", "q25", "q75", "low", "high")
# FA minus the retrained model's FA of the same seed; only the warnings use it.
FORGET_GAP = "FA_gap"
# Whether the smaller or the larger value wins; other metrics have no winner.
BETTER = {"RetDev": "low", "Indisc": "high", "RTE_work": "high"}


class Cell(NamedTuple):
  """One metric of one method over seeds; `low` and `high` bound the bootstrap interval."""

  n: int = 0
  mean: float = math.nan
  sd: float = math.nan
  median: float = math.nan
  q25: float = math.nan
  q75: float = math.nan
  low: float = math.nan
  high: float = math.nan

  @property
  def has_interval(self) -> bool:
    return self.n > 1 and math.isfinite(self.low) and math.isfinite(self.high)

  @property
  def bounds(self) -> tuple[float, float]:
    """The interval, or the mean twice where one seed gives none."""
    return (self.low, self.high) if self.has_interval else (self.mean, self.mean)


@dataclass(frozen=True)
class Summary:
  """Cells by (method, metric), and the methods in the order of the tables."""

  cells: Mapping[tuple[str, str], Cell]
  order: tuple[str, ...]
  members: Mapping[str, int]
  failed: Mapping[str, int]

  def cell(self, method: str, metric: str) -> Cell:
    return self.cells.get((method, metric), Cell())

  def has(self, metric: str) -> bool:
    """Tell whether any method has a value of this metric."""
    return any(name == metric and cell.n for (_, name), cell in self.cells.items())

  @property
  def methods(self) -> tuple[str, ...]:
    """The unlearning methods: the order without retrained and original."""
    return tuple(name for name in self.order if name not in REFERENCES)


def summarise(data: ReportData) -> Summary:
  """Aggregate the rows: retrained, original, then the methods by mean RetDev."""
  frame = statistics.summarise(with_gap(data.rows), bootstrap=data.bootstrap, level=LEVEL)
  cells = {
    (row.method, row.metric): Cell(int(row.n), *(getattr(row, name) for name in STATISTICS[1:]))
    for row in frame.itertuples()
  }
  members = data.rows.groupby("method").size().to_dict()
  failed = frame.groupby("method")["n_failed"].first().to_dict()
  return Summary(cells, _order(data.rows, cells), members, failed)


def with_gap(rows: pd.DataFrame) -> pd.DataFrame:
  """Add FORGET_GAP, paired with the retrained model of the same seed."""
  retrained = rows[rows["method"] == "retrained"].set_index("seed")["FA"]
  return rows.assign(**{FORGET_GAP: rows["FA"] - rows["seed"].map(retrained)})


def _order(rows: pd.DataFrame, cells: Mapping[tuple[str, str], Cell]) -> tuple[str, ...]:
  present = list(dict.fromkeys(rows["method"]))

  def key(name: str) -> tuple[bool, float, str]:
    value = cells.get((name, "RetDev"), Cell()).mean
    return (math.isnan(value), 0.0 if math.isnan(value) else value, name)

  methods = sorted((name for name in present if name not in REFERENCES), key=key)
  return (*(name for name in REFERENCES if name in present), *methods)


def best(summary: Summary, metric: str, eligible: Collection[str]) -> tuple[str, ...]:
  """List the best method, then those whose intervals overlap its interval.

  One name means a clear winner. Nothing is returned where fewer than two methods can be compared
  or where the best has a single seed: a winner without a spread is a claim without evidence.
  """
  cells = {name: summary.cell(name, metric) for name in summary.methods if name in eligible}
  cells = {name: cell for name, cell in cells.items() if math.isfinite(cell.mean)}
  if len(cells) < 2:
    return ()
  sign = 1 if BETTER[metric] == "low" else -1
  ranked = sorted(cells, key=lambda name: sign * cells[name].mean)
  if not cells[ranked[0]].has_interval:
    return ()
  low, high = cells[ranked[0]].bounds
  near = [n for n in ranked[1:] if cells[n].bounds[0] <= high and cells[n].bounds[1] >= low]
  return (ranked[0], *near)


def retraining_floor(rows: pd.DataFrame) -> float:
  """Return the mean RetDev between retrained models of different seeds; NaN below two.

  No method can be expected to come closer to retraining than retraining comes to itself.
  """
  table = rows[rows["method"] == "retrained"][["RA", "FA", "TA"]].dropna().to_numpy(dtype=float)
  pairs = [
    abs(one / other - 1).sum()
    for one, other in itertools.permutations(table, 2)
    if other.all()  # an accuracy of zero has no ratio
  ]
  return sum(pairs) / len(pairs) if pairs else math.nan


def split_resolution(data: ReportData) -> float:
  """Return the standard error of an attack at one half that comes from the finite sets alone.

  All seeds share one split, so their spread cannot show it: 2n points, each right with one half.
  """
  sizes = [int(data.split_sizes.get(name, 0)) for name in ("forget", "test")]
  return 0.5 / math.sqrt(2 * min(sizes)) if min(sizes) > 0 else math.nan


def wall_rte(data: ReportData) -> dict[str, float]:
  """Return retraining's wall clock over each method's, for un-batched runs on one device only.

  A batched clock times the population, not a model (spec evaluation 5): then the dict is empty.
  """
  if data.manifest.get("chunk") != 1 or data.device_count != 1:
    return {}
  clock = {name: float(stage.get("wall_s") or 0.0) for name, stage in data.timings.items()}
  base = clock.get("retrained", 0.0)
  return {name: base / wall for name, wall in clock.items() if base > 0 and wall > 0}
