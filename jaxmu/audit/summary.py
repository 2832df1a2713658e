"""Numbers over seeds: cells of the tables, the order of the methods, and which are best."""

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from jaxmu.audit import metrics, statistics
from jaxmu.audit.intervals import Interval, over_members
from jaxmu.audit.results import LEVEL, REFERENCES, Cell, Results

OVER_SEEDS = ("n", "mean", "sd", "median", "q25", "q75", "seeds_low", "seeds_high")
STATISTICS = (*OVER_SEEDS[:6], "low", "high", *OVER_SEEDS[6:])


@dataclass(frozen=True)
class Summary:
  """Cells by (method, metric), paired differences, and the methods in the order of the tables."""

  cells: Mapping[tuple[str, str], Cell]
  order: tuple[str, ...]
  members: Mapping[str, int]
  failed: Mapping[str, int]
  differences: Mapping[tuple[str, str, str], Cell]

  def cell(self, method: str, metric: str) -> Cell:
    return self.cells.get((method, metric), Cell())

  def difference(self, method: str, other: str, metric: str) -> Cell:
    """Return what a metric of one method is above another's, paired by seed and by sample."""
    found = self.differences.get((method, other, metric))
    if found is not None:
      return found
    back = self.differences.get((other, method, metric), Cell())
    return Cell(back.n, -back.mean, low=-back.high, high=-back.low)

  def has(self, metric: str) -> bool:
    """Tell whether any method has a value of this metric."""
    return any(name == metric and cell.n for (_, name), cell in self.cells.items())

  @property
  def methods(self) -> tuple[str, ...]:
    """The unlearning methods: the order without retrained and original."""
    return tuple(name for name in self.order if name not in REFERENCES)


def summarise(data: Results) -> Summary:
  """Aggregate the rows: retrained, original, then the methods by mean deviation."""
  frame = statistics.summarise(data.rows, bootstrap=data.bootstrap, level=LEVEL)
  wide = {(row.method, row.metric): (row.low, row.high) for row in data.intervals.itertuples()}
  cells = {}
  for row in frame.itertuples():
    over_seeds = [getattr(row, name) for name in OVER_SEEDS[1:]]
    low, high = wide.get((row.method, row.metric), over_seeds[-2:])
    cells[row.method, row.metric] = Cell(int(row.n), *over_seeds[:5], low, high, *over_seeds[5:])
  every = data.every.groupby("method")["finite"]
  members = every.size().to_dict()
  failed = (every.size() - every.sum()).astype(int).to_dict()
  return Summary(cells, _order(data, cells), members, failed, _differences(data))


def _differences(data: Results) -> dict[tuple[str, str, str], Cell]:
  """Read the paired differences; those that no table holds are taken from rows, over seeds."""
  found = {
    (row.method, row.other, row.metric): Cell(1, row.value, low=row.low, high=row.high)
    for row in data.differences.itertuples()
    if math.isfinite(row.value)
  }
  sound = data.rows[data.rows["finite"].astype(bool)]
  for metric in dict.fromkeys((*metrics.paired(True), *metrics.ranked())):
    if metric not in sound:
      continue
    table = sound.pivot(index="seed", columns="method", values=metric)
    for one, other in itertools.combinations(table.columns, 2):
      if not {(one, other, metric), (other, one, metric)} & set(found):
        gap = over_members((table[one] - table[other]).to_numpy(float), LEVEL)
        found[one, other, metric] = Cell(int(math.isfinite(gap.value)), *_bounded(gap))
  return found


def over_seeds(values: np.ndarray) -> Cell:
  """Return the mean of one number per seed, SD and t interval; only finite ones count."""
  kept = values[np.isfinite(values)]
  if not len(kept):
    return Cell()
  value, low, high = over_members(kept, LEVEL)
  sd = float(kept.std(ddof=1)) if len(kept) > 1 else math.nan
  return Cell(len(kept), value, sd, low=low, high=high)


def _bounded(gap: Interval) -> tuple:
  """Return the fields of a cell from its mean to its interval."""
  return gap.value, math.nan, math.nan, math.nan, math.nan, gap.low, gap.high


def _order(data: Results, cells: Mapping[tuple[str, str], Cell]) -> tuple[str, ...]:
  present, metric = list(dict.fromkeys(data.rows["method"])), data.deviation

  def key(name: str) -> tuple[bool, float, str]:
    value = cells.get((name, metric), Cell()).mean
    return (math.isnan(value), 0.0 if math.isnan(value) else value, name)

  methods = sorted((name for name in present if name not in REFERENCES), key=key)
  return (*(name for name in REFERENCES if name in present), *methods)


def best(summary: Summary, metric: str, eligible: Collection[str]) -> tuple[str, ...]:
  """List the best method, then those whose paired difference from it may be zero.

  One name means a clear winner. Nothing is returned where fewer than two methods can be compared
  or where the best has a single seed: a winner without a spread is a claim without evidence.
  """
  cells = {name: summary.cell(name, metric) for name in summary.methods if name in eligible}
  cells = {name: cell for name, cell in cells.items() if math.isfinite(cell.mean)}
  if len(cells) < 2:
    return ()
  sign = 1 if metrics.METRICS[metric].better == "low" else -1
  ranked = sorted(cells, key=lambda name: sign * cells[name].mean)
  apart = {name: summary.difference(name, ranked[0], metric) for name in ranked[1:]}
  if cells[ranked[0]].n < 2 or not any(gap.has_interval for gap in apart.values()):
    return ()
  near = [name for name, gap in apart.items() if not gap.off(0)]
  return (ranked[0], *near)


def recognised(summary: Summary, method: str) -> bool:
  """Tell whether the strongest attack finds the forget set: above one half and above retraining."""
  cell = summary.cell(method, "T_strongest")
  if not cell.above(0.5):
    return False
  if not summary.cell("retrained", "T_strongest").n:
    return True
  return summary.difference(method, "retrained", "T_strongest").above(0)


def retraining_floor(data: Results) -> float:
  """Return the mean RetDev between retrained models of different seeds; NaN below two.

  No method can be expected to come closer to retraining than retraining comes to itself. NaN where
  ratios say nothing.
  """
  rows = data.rows
  if data.deviation != "RetDev":
    return math.nan
  table = rows[rows["method"] == "retrained"][["RA", "FA", "TA"]].dropna().to_numpy(dtype=float)
  pairs = [
    abs(one / other - 1).sum()
    for one, other in itertools.permutations(table, 2)
    if other.all()  # an accuracy of zero has no ratio
  ]
  return sum(pairs) / len(pairs) if pairs else math.nan


def split_resolution(data: Results) -> float:
  """Return the standard error of an attack at one half that comes from the finite sets alone.

  All seeds share one split, so their spread cannot show it: 2n points, each right with one half,
  and 1.2 times that for the overlap of ten random folds (1.14 to 1.25 in simulations).
  """
  sizes = [int(data.split_sizes.get("forget", 0)), data.unseen]
  return 1.2 * 0.5 / math.sqrt(2 * min(sizes)) if min(sizes) > 0 else math.nan
