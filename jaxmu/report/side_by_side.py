"""Several runs on one page: what differs between them, their numbers, and paired differences."""

from collections.abc import Mapping, Sequence

import pandas as pd

from jaxmu.audit.metrics import METRICS
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.results import Cell as Number
from jaxmu.audit.summary import over_seeds
from jaxmu.audit.text import MISSING, interval, listing, number, plural
from jaxmu.errors import StoreError
from jaxmu.report.blocks import (
  Block,
  Cell,
  Column,
  Drawing,
  Drawings,
  Facts,
  Report,
  Row,
  Section,
  Table,
  Text,
  drawings,
)
from jaxmu.report.charts.plots import Axis, Strip

PAIRED = ("RetDev", "T_strongest", "FA", "TA")  # of members, where both runs have the same
NOTE = (
  "A run's own intervals are those of its report. Runs that share their seeds and their split are "
  "compared seed by seed below; others differ by more than what was changed on purpose."
)


def compose(reports: Mapping[str, Report]) -> Report:
  """Put reports of one kind side by side, by the names of their runs.

  Raises:
    StoreError: they are of different kinds of studies.
  """
  kinds = {one.kind for one in reports.values()}
  if len(kinds) > 1:
    raise StoreError(f"runs of different kinds ({listing(sorted(kinds))}) share no numbers")
  first, names = next(iter(reports.values())), list(reports)
  tables = [_column(reports, column) for column in first.main.columns if column.label != "n"]
  pairs = _pairs(reports)
  whole = pd.concat([one.numbers.assign(run=name) for name, one in reports.items()])
  return Report(
    title=listing(names),
    kind=f"{first.kind}s side by side",
    subject=plural(len(names), "run"),
    header=Facts(tuple((name, one.subject) for name, one in reports.items())),
    first=Section("In short", _short(reports, pairs), "verdict"),
    sections=(
      Section("What differs", (_differing(reports),), "differs"),
      *([Section("Paired differences", tuple(pairs), "paired")] if pairs else []),
      Section("Number by number", (Text(NOTE, small=True), *tables), "numbers"),
      *_figures(reports),
    ),
    marks={name: mark for one in reports.values() for name, mark in one.marks.items()},
    main=tables[0],
    notes=(NOTE,),
    numbers=whole[["run", *(c for c in whole if c != "run")]],
    stored="the run's stored results",
  )


def _short(reports: Mapping[str, Report], pairs: Sequence[Block]) -> tuple[Text, ...]:
  """Give the advice of every run, and say what can be compared."""
  advice = [
    Text(f"{name}: {block.words}")
    for name, one in reports.items()
    for block in one.first.blocks[:1]
    if isinstance(block, Text)
  ]
  how = (
    "Some of these runs share seeds and split, so their models are compared one by one."
    if pairs
    else "No two of these runs share seeds and split: only whole results can be compared."
  )
  return (*advice, Text(how, small=True))


def _differing(reports: Mapping[str, Report]) -> Block:
  """Return what was run, without what is the same everywhere."""
  facts = {name: dict(one.header.items) for name, one in reports.items()}
  labels = dict.fromkeys(label for known in facts.values() for label in known)
  value = lambda name, label: facts[name].get(label, MISSING)
  rows = tuple(
    Row(label, tuple(Cell(value(name, label)) for name in facts))
    for label in labels
    if len({value(name, label) for name in facts}) > 1
  )
  if not rows:
    return Text("Nothing that a report shows; hyper-parameters may.")
  columns = tuple(Column(name) for name in facts)
  return Table("What differs between the runs", columns, rows, Column("", ""))


def _column(reports: Mapping[str, Report], column: Column) -> Table:
  """Return one column of the main tables, methods by runs."""
  cells = {
    name: {
      row.method: (row, row.cells[place])
      for place, other in enumerate(one.main.columns)
      if other.label == column.label
      for row in one.main.rows
    }
    for name, one in reports.items()
  }
  methods = dict.fromkeys(method for known in cells.values() for method in known)
  labels = {m: row.label for known in cells.values() for m, (row, _) in known.items()}
  rows = tuple(
    Row(
      labels[method],
      tuple(known[method][1] if method in known else Cell(MISSING) for known in cells.values()),
      method,
      method in REFERENCES,
    )
    for method in methods
  )
  ideal = f" (ideal: {column.under})" if column.under else ""
  return Table(f"{column.label}{ideal}", tuple(map(Column, cells)), rows, Column(column.label))


def _pairs(reports: Mapping[str, Report]) -> list[Block]:
  """Compare each run with the first one that has its split, seed by seed."""
  found: list[Block] = []
  earlier: dict[str, tuple[str, pd.DataFrame]] = {}
  for name, one in reports.items():
    if one.members is None:
      continue
    before, rows = earlier.setdefault(one.split, (name, one.members))
    if before == name:
      continue
    table = _paired(one, before, rows, name, one.members)
    if table.rows:
      found.append(table)
  return found


def _paired(report: Report, before: str, old: pd.DataFrame, name: str, new: pd.DataFrame) -> Table:
  sound = lambda rows: rows[rows["finite"].astype(bool)]
  both = sound(new).merge(sound(old), on=["method", "seed"], suffixes=("_new", "_old"))
  shown = [metric for metric in PAIRED if f"{metric}_new" in both and f"{metric}_old" in both]
  rows = []
  for method, part in both.groupby("method", sort=False):
    cells = [_gap(part[f"{metric}_new"] - part[f"{metric}_old"]) for metric in shown]
    mark = report.marks.get(str(method))
    label = mark.label if mark else str(method)
    reference = method in REFERENCES
    rows.append(Row(label, (*cells, Cell(str(len(part)))), str(method), reference))
  columns = (*(Column(METRICS[metric].label or metric) for metric in shown), Column("seeds"))
  return Table(f"{name} minus {before}, seed by seed", columns, tuple(rows))


def _gap(values: pd.Series) -> Cell:
  """Return a mean difference with its interval over seeds."""
  cell = over_seeds(values.to_numpy(float))
  return Cell(number(cell.mean), interval(cell))


def _figures(reports: Mapping[str, Report]) -> list[Section]:
  """Return the attack figures of the first two runs as one: filled the first, hollow the second."""
  strips = [
    next((d.plot for d in drawings(one.sections) if isinstance(d.plot, Strip)), None)
    for one in reports.values()
  ][:2]
  if len(strips) < 2 or not all(strips):
    return []
  one, other = strips
  assert one and other
  names = list(reports)[:2]
  cells = {m: (pair[0], other.cells.get(m, (Number(),))[0]) for m, pair in one.cells.items()}
  plot = one._replace(name="side-by-side", cells=cells, axis=Axis(one.axis.label))
  caption = f"Filled: {names[0]}, with the band of its retrained models; hollow: {names[1]}."
  blocks = (Drawings((Drawing(plot, caption),)),)
  return [Section("The attack in both", blocks, "figures", page_only=True)]
