"""The tables of a U-LiRA study."""

from collections.abc import Iterable

from jaxmu.audit.results import REFERENCES
from jaxmu.audit.rules import Caution
from jaxmu.audit.study.judgement import direction, raised
from jaxmu.audit.study.study_statistics import METRICS, Statistic
from jaxmu.audit.text import MISSING, interval, number, plural
from jaxmu.report.blocks import RAISED, Cell, Column, Row, Table
from jaxmu.report.facts import counted
from jaxmu.report.ulira.ulira_data import StudyData

UNRESOLVED = "not resolvable"
LEGEND = (
  "▲ marks an interval that lies above the retrained models' interval, and above chance where "
  "chance is known: what is found there is not noise. Methods are sorted by U-LiRA accuracy, the "
  "least exposed first."
)
DIRECTIONS = (
  ("Mean difference", "mean over samples of forgotten minus never-seen confidence (log-odds)"),
  ("Exposed samples", "samples attacked above 0.6"),
  ("Recognised by less confidence", "share of the exposed samples with a negative difference"),
)


def main(data: StudyData, cautions: Iterable[Caution]) -> Table:
  """Return one line per method in the order of the tables."""
  rows = (
    Row(
      data.label(name),
      (*(_cell(data, name, one) for one in METRICS), Cell(members(data, name))),
      name,
      name in REFERENCES,
      tuple(c for c in cautions if c.method == name),
    )
    for name in data.order
  )
  models = "Models that were attacked; diverged ones are left out and counted."
  columns = [Column(one.label, one.ideal, one.explanation) for one in METRICS]
  return Table(
    "U-LiRA and further attacks on every method",
    (*columns, Column("n", "models", models)),
    tuple(rows),
    Column("Method", "ideal"),
    name="main",
  )


def _cell(data: StudyData, method: str, statistic: Statistic) -> Cell:
  cell = data.cell(method, statistic.name, statistic.question)
  asked = (method, statistic.question, statistic.name) in data.cells  # not of older runs
  unknown = asked and not cell.n and data.cell(method, "accuracy").n
  if unknown and statistic.name.startswith("tpr_at"):
    return Cell(UNRESOLVED)
  standing = RAISED if raised(data, method, statistic) else ""
  digits = statistic.digits
  return Cell(number(cell.mean, digits), interval(cell, digits), standing)


def members(data: StudyData, method: str) -> str:
  """Write the number of models, "638/640" where some failed."""
  total = data.models(method)
  return counted(total, data.failed(method)) if total else MISSING


def legend(data: StudyData) -> str:
  """Say how to read a cell."""
  splits = data.record.splits
  if splits < 2:
    return "Values of the one split; without others there is no interval."
  return (
    f"Values over all models, and 95 % intervals for other samples and other splits "
    f"({plural(splits, 'split')} here): models of one split share their training half and are no "
    "independent evidence. Rates of false alarms that too few cases could show are not given "
    f"({UNRESOLVED})."
  )


def further(
  data: StudyData, caption: str, statistics: Iterable[Statistic], order: Iterable[str] = ()
) -> Table:
  """Lay out statistics by method; statistics and methods without any value are left out."""
  value = lambda name, one: data.cell(name, one.name, one.question)
  order = tuple(order) or data.order
  shown = [one for one in statistics if any(value(name, one).n for name in order)]
  names = [name for name in order if any(value(name, one).n for one in shown)]
  written = lambda cell, digits: Cell(number(cell.mean, digits), interval(cell, digits))
  columns = tuple(Column(one.label, "", one.explanation) for one in shown)
  rows = (
    Row(data.label(name), tuple(written(value(name, one), one.digits) for one in shown), name)
    for name in names
  )
  return Table(caption, columns, tuple(rows), explained=True)


def directions(data: StudyData) -> Table:
  """Lay out, per method, in which direction forgotten samples differ from never-seen ones."""
  rows = []
  for name in data.order:
    if len(data.attacked(name)):
      found = direction(data, name)
      cells = (number(found.gap, 2), f"{found.exposed:,}", number(found.below, 2))
      rows.append(Row(data.label(name), tuple(map(Cell, cells)), name))
  columns = tuple(Column(label, "", words) for label, words in DIRECTIONS)
  caption = "Direction in which forgotten samples differ"
  return Table(caption, columns, tuple(rows), explained=True)
