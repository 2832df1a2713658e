"""The tables of a study as values; page.py and documents.py write them in their own form."""

from collections.abc import Iterable

from jaxmu.audit.cautions import Caution
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.study.judgement import direction, raised
from jaxmu.audit.study.study_statistics import METRICS, Statistic
from jaxmu.audit.text import MISSING, interval, number, plural
from jaxmu.report.study.data import StudyData
from jaxmu.report.table import RAISED, Block, Entry, Line

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


def lines(data: StudyData, cautions: list[Caution]) -> tuple[Line, ...]:
  """Return one line per method in the order of the tables."""
  return tuple(
    Line(
      method=name,
      label=data.label(name),
      reference=name in REFERENCES,
      entries=tuple(_entry(data, name, statistic) for statistic in METRICS),
      members=members(data, name),
      flags=tuple(c for c in cautions if c.method == name),
    )
    for name in data.order
  )


def _entry(data: StudyData, method: str, statistic: Statistic) -> Entry:
  cell = data.cell(method, statistic.name, statistic.question)
  if not cell.n and statistic.name.startswith("tpr_at") and data.cell(method, "accuracy").n:
    return Entry(UNRESOLVED)
  standing = RAISED if raised(data, method, statistic) else ""
  digits = statistic.digits
  return Entry(number(cell.mean, digits), interval(cell, digits), standing)


def members(data: StudyData, method: str) -> str:
  """Write the number of models, "638/640" where some failed."""
  total, failed = data.models(method), data.failed(method)
  if not total:
    return MISSING
  return f"{total - failed:,}/{total:,}" if failed else f"{total:,}"


def definitions() -> list[tuple[str, str]]:
  """Explain every column of the main table in words."""
  models = "Models that were attacked; diverged ones are left out and counted."
  return [*((statistic.label, statistic.explanation) for statistic in METRICS), ("n", models)]


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


def block(data: StudyData, statistics: Iterable[Statistic], order: Iterable[str] = ()) -> Block:
  """Lay out statistics by method; statistics and methods without any value are left out."""
  value = lambda name, one: data.cell(name, one.name, one.question)
  order = tuple(order) or data.order
  shown = [one for one in statistics if any(value(name, one).n for name in order)]
  names = [name for name in order if any(value(name, one).n for one in shown)]
  written = lambda cell, digits: (number(cell.mean, digits), interval(cell, digits))
  body = [(name, [written(value(name, one), one.digits) for one in shown]) for name in names]
  return Block([(one.label, one.explanation) for one in shown], body)


def directions(data: StudyData) -> Block:
  """Lay out, per method, in which direction forgotten samples differ from never-seen ones."""
  body = []
  for name in data.order:
    if len(data.attacked(name)):
      found = direction(data, name)
      cells = (number(found.gap, 2), f"{found.exposed:,}", number(found.below, 2))
      body.append((name, [(cell, "") for cell in cells]))
  return Block(list(DIRECTIONS) if body else [], body)
