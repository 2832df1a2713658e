"""The report of several cells, data sets with networks: the benchmark's tables over all of them.

Tables and figures are those of spec evaluation 8, with this project's own grouping.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from jaxmu.audit import groups
from jaxmu.audit.results import Cell as Number
from jaxmu.audit.summary import over_seeds
from jaxmu.audit.text import factor, interval, listing, number, plural
from jaxmu.errors import StoreError
from jaxmu.report import facts
from jaxmu.report.benchmark import benchmark_figures, main_table
from jaxmu.report.benchmark.benchmark_data import Judged, from_run, judge
from jaxmu.report.blocks import (
  Block,
  Cell,
  Column,
  Drawing,
  Drawings,
  Facts,
  Fold,
  Legend,
  Report,
  Row,
  Section,
  Table,
  Text,
)
from jaxmu.report.cells import published
from jaxmu.report.charts.plots import Axis, Ranking
from jaxmu.report.marks import Mark
from jaxmu.store import Run

Cells = Mapping[str, Judged]
METRICS = ("RetDev", "Disc")  # by which methods are grouped; both are best at 0
GROUPS = (
  "In every cell the methods are divided by their mean over seeds into three clusters (Ward), G1 "
  "the best; F failed: a seed is not finite, or half of the test accuracy is lost. Counts of "
  "cells. The grouping is this project's own, not the paper's."
)
TESTED = (
  "cells in which a paired Wilcoxon test over seeds, corrected after Holm, cannot tell the method "
  "from the best one of the cell"
)
ORDER = (
  "Mean rank of RetDev over the cells, best first, with the difference from the first in mean rank "
  "and its interval over cells (paired)."
)


def report(runs: Mapping[str, Run]) -> Report:
  """Read runs of benchmarks and show them as cells of one.

  Args:
    runs: by how a reader calls the cell.

  Raises:
    StoreError: a table is missing or damaged, no method is in all cells, or a cell has no RetDev.
  """
  found = {name: judge(from_run(run)) for name, run in runs.items()}
  for name, one in found.items():
    if one.data.deviation != "RetDev":
      raise StoreError(
        f"{name} cannot be a cell: cells are compared by RetDev, which says nothing where "
        "retrained models know nothing of the forget set; leave it out, or show it without --cells"
      )
  return compose(found)


def compose(cells: Cells) -> Report:
  """Say what several benchmarks show together."""
  methods = _common(cells)
  marks = next(iter(cells.values())).data.marks
  found = {metric: groups_by(cells, metric) for metric in METRICS}
  main = _main(cells, methods, marks, found)
  return Report(
    title=listing(cells),
    kind="benchmark over several cells",
    subject=f"{plural(len(cells), 'cell')}, {plural(len(methods), 'method')}",
    header=Facts(tuple((name, _about(one)) for name, one in cells.items())),
    first=Section("In short", tuple(map(Text, _sentences(main, cells, found))), "verdict"),
    sections=(
      Section("Groups", (Text(GROUPS, small=True), main), "results"),
      Section("Cell by cell", _single(cells), "cells"),
      *_published(cells),
      Section("Samples", (_sizes(cells),), "samples"),
      Section("Configurations", (_configurations(cells, methods),), "configurations"),
      _figures(cells, methods, marks),
    ),
    marks=marks,
    main=main,
    notes=(GROUPS, f"As the best: {TESTED}."),
    numbers=_numbers(cells),
  )


def groups_by(cells: Cells, metric: str) -> dict[str, dict[str, str]]:
  """Return cell -> method -> group by one metric."""
  return {
    name: groups.of_cell(_disc(one.data.rows), metric, one.summary.methods)
    for name, one in cells.items()
  }


def _disc(rows: pd.DataFrame) -> pd.DataFrame:
  return rows.assign(Disc=1 - rows["Indisc"])


def _common(cells: Cells) -> list[str]:
  """Return the methods that are in all cells, in the order of the first."""
  first, *others = cells.values()
  found = [m for m in first.summary.methods if all(m in one.summary.methods for one in others)]
  if not found:
    raise StoreError(f"{listing(cells)} have no method in common")
  return found


def _about(one: Judged) -> str:
  return f"{facts.task(one.data)}, {plural(len(one.data.seeds), 'seed')}"


def _main(
  cells: Cells, methods: list[str], marks: Mapping[str, Mark], found: Mapping[str, dict]
) -> Table:
  """Count groups per method: best counts first (spec evaluation 8)."""
  counts = {key: groups.counted(list(by_cell.values())) for key, by_cell in found.items()}
  tested = {metric: _tested(cells, metric, methods) for metric in METRICS}
  mean = lambda m, metric: float(np.mean([_mean(one, m, metric) for one in cells.values()]))

  def order(m: str) -> tuple:
    own = counts["RetDev"][m]
    return (-own["G1"], -own["G2"], own["F"], mean(m, "RetDev"))

  rows = []
  for m in sorted(methods, key=order):
    numbers = [Cell(_counts(counts[key][m])) for key in METRICS]
    tests = [Cell(f"{tested[key][m]} of {len(cells)}") for key in METRICS]
    means = [Cell(number(mean(m, key))) for key in ("RetDev", "Indisc")]
    speed = float(np.median([_mean(one, m, "RTE_work") for one in cells.values()]))
    rows.append(Row(marks[m].label, (*numbers, *tests, *means, Cell(factor(speed))), m))
  columns = (
    Column("RetDev", "G1 G2 G3 F", "cells by group"),
    Column("Disc", "G1 G2 G3 F", "cells by group of |2 T-MIA − 1|"),
    Column("RetDev, as the best", "", TESTED),
    Column("Disc, as the best", "", "the same by Disc"),
    Column("mean RetDev", "0", "over the cells"),
    Column("mean Indisc", "1", "over the cells"),
    Column("RTE", "large", "median over cells of the work of retraining over the method's"),
  )
  return Table(
    "Groups of methods over all cells", columns, tuple(rows), explained=True, name="main"
  )


def _counts(own: Counter[str]) -> str:
  return " ".join(str(own[name]) for name in groups.NAMES)


def _tested(cells: Cells, metric: str, methods: list[str]) -> Counter[str]:
  return Counter(
    m
    for one in cells.values()
    for m in groups.as_good_as_the_best(_disc(one.data.rows), metric, one.summary.methods)
    if m in methods
  )


def _mean(one: Judged, method: str, metric: str) -> float:
  return one.summary.cell(method, metric).mean


def _sentences(main: Table, cells: Cells, found: Mapping[str, dict]) -> list[str]:
  """Say who leads, who follows, and how much that can bear."""
  order = [row.method for row in main.rows]
  label = next(iter(cells.values())).data.label
  always = [m for m in order if all(by[m] == "G1" for by in found["RetDev"].values())]
  broken = [m for m in order if any(by[m] == "F" for by in found["RetDev"].values())]
  words = [
    f"In the best group by RetDev in every cell: {listing(map(label, always))}."
    if always
    else f"No method is in the best group by RetDev in every cell; most often {label(order[0])} is."
  ]
  if broken:
    words.append(f"Failed in at least one cell: {listing(map(label, broken))}.")
  seeds = min(len(one.data.seeds) for one in cells.values())
  words.append(
    f"{plural(len(cells), 'cell')} of {seeds} seeds or more: differences between cells are larger "
    "than those between neighbours in this table, so read groups, not places."
  )
  return words


def _single(cells: Cells) -> tuple[Block, ...]:
  """Show every cell's own table."""
  found = []
  for k, (name, one) in enumerate(cells.items()):
    table = main_table.main(one)._replace(caption=f"{name}: every metric", name=f"cell-{k}")
    found.append(Fold(name, (table,)))
  return tuple(found)


def _published(cells: Cells) -> list[Section]:
  """Show what others published of a cell, where there is any."""
  tables = [published.beside(name, one) for name, one in cells.items() if published.fits(one)]
  return [Section("Published by others", tuple(tables), "published")] if tables else []


def _sizes(cells: Cells) -> Table:
  parts = ("train", "retain", "forget", "val", "test")
  rows = [
    Row(name, tuple(Cell(f"{one.data.split_sizes.get(part, 0):,}") for part in parts))
    for name, one in cells.items()
  ]
  return Table("Samples per set", tuple(map(Column, parts)), tuple(rows), Column("Cell"))


def _configurations(cells: Cells, methods: list[str]) -> Facts:
  """List the hyper-parameters that every method ran with."""
  found = [
    (f"{one.data.label(method)}, {name}", facts.plain(known.hyperparameters))
    for method in methods
    for name, one in cells.items()
    if (known := one.data.manifest.methods[method])
  ]
  return Facts(tuple(found))


def _figures(cells: Cells, methods: list[str], marks: Mapping[str, Mark]) -> Section:
  found: list[Block] = [Legend(tuple(marks))]
  if (order := _ranking(cells, methods, marks)) is not None:
    drawn = Drawings((Drawing(order, ORDER),))
    found.append(Section("Order over all cells", (drawn,)))
  for k, (name, one) in enumerate(cells.items()):
    planes = [
      Drawing(each.plot._replace(name=f"{each.plot.name}-{k}"), each.caption)
      for each in benchmark_figures.comparison(one)
    ]
    found.append(Section(name, (Drawings(tuple(planes)),)))
  return Section("Figures", tuple(found), "figures", page_only=True)


def _ranking(cells: Cells, methods: list[str], marks: Mapping[str, Mark]) -> Ranking | None:
  """Rank methods in every cell by RetDev; differences of ranks from the first over cells."""
  if len(cells) < 2:
    return None
  values = np.array([[_mean(one, m, "RetDev") for m in methods] for one in cells.values()])
  values = np.where(np.isfinite(values), values, np.inf)  # failed: last
  ranks = stats.rankdata(values, axis=1)
  order = np.argsort(ranks.mean(0), kind="stable")
  first, gaps = ranks[:, order[0]], {}
  for k in order.tolist():
    gaps[methods[k]] = over_seeds(ranks[:, k] - first)
  label = lambda name: marks[name].label
  means = {methods[k]: float(ranks[:, k].mean()) for k in order.tolist()}
  hints = {m: f"{label(m)}: {number(gap.mean, 1)} {interval(gap, 1)}" for m, gap in gaps.items()}
  words = "; ".join(f"{label(m)} {mean:.1f}" for m, mean in means.items())
  groups_of = _runs(gaps)
  axis = Axis("difference in mean rank from the first")
  title = "Mean rank of RetDev over cells"
  return Ranking("order-cells", title, f"{title}: {words}.", axis, gaps, means, groups_of, hints)


def _runs(gaps: Mapping[str, Number]) -> tuple[tuple[str, ...], ...]:
  """Return the neighbours from the first on whose difference from it does not exclude zero."""
  names: list[str] = []
  for name, gap in gaps.items():
    if names and gap.has_interval and gap.above(0):
      break
    names.append(name)
  return (tuple(names),) if len(names) > 1 else ()


def _numbers(cells: Cells) -> pd.DataFrame:
  """Return one line per cell, method and seed: the columns that the reference's exports have."""
  found = []
  for name, one in cells.items():
    rows = one.data.rows
    kept = [c for c in ("method", "seed", "finite", *_COLUMNS) if c in rows]
    found.append(rows[kept].assign(cell=name))
  whole = pd.concat(found, ignore_index=True)
  return whole[["cell", *(c for c in whole if c != "cell")]]


_COLUMNS = (
  *("RA", "FA", "VA", "TA", "V_MIA", "T_MIA", "RR", "FR", "TR", "RetDev", "Indisc", "T_strongest"),
  *("RTE_work", "passes"),
)
