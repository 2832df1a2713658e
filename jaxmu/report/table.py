"""The main table as values; page.py and documents.py write it in their own form."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxmu.audit import metrics
from jaxmu.audit.attack_words import attack_note
from jaxmu.audit.cautions import Caution, markable, shown_by_loss
from jaxmu.audit.metric import MAIN
from jaxmu.audit.metrics import METRICS
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.summary import Summary, best, recognised
from jaxmu.audit.text import MISSING, factor, interval, plural, speed, spread
from jaxmu.report.data import ReportData

BEST, SHARED = "best", "shared"  # a clear winner; the leading group whose intervals overlap
RAISED = "raised"  # its interval lies above that of the retrained models
SIGNS = {SHARED: "≈", RAISED: "▲"}  # beside a number
SIGN_WORDS = {
  SHARED: "not separable from the best",
  RAISED: "above what retraining leaves",
}


class Column(NamedTuple):
  key: str
  label: str
  ideal: str


class Entry(NamedTuple):
  """One cell: mean ± SD, the interval, and its standing among the methods."""

  main: str
  interval: str = ""
  standing: str = ""
  note: str = ""  # in a word or two, beside the number


class Block(NamedTuple):
  """A further table: names of the columns with their meaning, and per method (value, interval)."""

  head: list[tuple[str, str]]
  body: list[tuple[str, list[tuple[str, str]]]]


class Line(NamedTuple):
  method: str
  label: str
  reference: bool
  entries: tuple[Entry, ...]
  members: str  # "10", or "8/10" where members failed
  flags: tuple[Caution, ...]


def columns(data: ReportData) -> tuple[Column, ...]:
  """Return the metric columns; a clock column only where an un-batched clock exists."""
  wanted = [data.test_metric if m.name == "TA" else m.name for m in metrics.shown(MAIN)]
  found = [Column(name, METRICS[name].label, METRICS[name].ideal) for name in wanted]
  if wall_rte(data):
    found.append(Column("clock", "RTE (clock)", "large"))
  return tuple(found)


def lines(data: ReportData, summary: Summary, cautions: list[Caution]) -> tuple[Line, ...]:
  """Return one line per method in the order of the tables."""
  standings = _standings(data, summary, cautions)
  clock = wall_rte(data)
  return tuple(
    Line(
      method=name,
      label=data.label(name),
      reference=name in REFERENCES,
      entries=tuple(_entry(data, summary, name, c.key, standings, clock) for c in columns(data)),
      members=_members(summary, name),
      flags=tuple(c for c in cautions if c.method == name),
    )
    for name in summary.order
  )


def wall_rte(data: ReportData) -> dict[str, float]:
  """Return retraining's wall clock over each method's, for un-batched runs on one device only.

  A batched clock times the population, not a model (spec evaluation 5): then the dict is empty.
  """
  if data.manifest.chunk != 1 or data.manifest.device.count != 1:
    return {}
  clock = {name: stage.wall_s for name, stage in data.timings.items()}
  base = clock.get("retrained", 0.0)
  return {name: base / wall for name, wall in clock.items() if base > 0 and wall > 0}


def _entry(
  data: ReportData,
  summary: Summary,
  method: str,
  key: str,
  standings: Mapping[tuple[str, str], str],
  clock: Mapping[str, float],
) -> Entry:
  if method == "original" and key in ("RTE_work", "clock"):
    return Entry(MISSING)  # nothing was unlearned, so nothing was saved
  if key == "clock":
    return Entry(factor(clock[method]) if method in clock else MISSING)
  cell = summary.cell(method, key)
  if key == "RTE_work":
    return Entry(speed(cell), standing=standings.get((method, key), ""))
  note = attack_note(data.rows, method) if key == "T_strongest" else ""
  return Entry(spread(cell), interval(cell), standings.get((method, key), ""), note)


def _standings(
  data: ReportData, summary: Summary, cautions: list[Caution]
) -> dict[tuple[str, str], str]:
  eligible = markable(data, summary, cautions)
  found = {(n, "T_strongest"): RAISED for n in summary.order if recognised(summary, n)}
  found |= {(n, "T_MIA"): RAISED for n in summary.order if shown_by_loss(data, summary, n)}
  for metric in metrics.ranked():
    names = best(summary, metric, eligible)
    found |= {(name, metric): BEST if len(names) == 1 else SHARED for name in names}
  return found


def _members(summary: Summary, method: str) -> str:
  failed, total = summary.failed.get(method, 0), summary.members[method]
  return f"{total - failed}/{total}" if failed else str(total)


def definitions(data: ReportData) -> list[tuple[str, str]]:
  """Explain every column in words, as they stand beneath the table."""
  meaning = lambda key: _CLOCK if key == "clock" else METRICS[key].explanation
  words = [(column.label, meaning(column.key)) for column in columns(data)]
  return [*words, ("n", "Members (seeds) in the mean; failed ones are left out and counted.")]


def legend(data: ReportData) -> str:
  """Say how to read a cell."""
  count = plural(len(data.seeds), "seed")
  if len(data.seeds) == 1:
    return "Values of the one seed; 95 % intervals speak of other samples, not of other seeds."
  return (
    f"Mean ± sample standard deviation over {count}, and a 95 % interval for other samples and "
    "other seeds together. Derived numbers are computed per seed, against the retrained model of "
    "the same seed, then averaged. What initialisation alone moves stands in report.csv "
    f"(seeds_low, seeds_high; {data.bootstrap:,} bootstrap resamples of the seeds)."
  )


STANDING = (
  "Bold marks the best method of a column if its paired difference from every other one excludes "
  "zero (same seeds, same samples); otherwise the whole group that cannot be told from the best is "
  "marked with ≈, because the order inside it may be chance. Methods that destroyed the model or "
  "changed nothing, or that an attack recognises (▲: above one half and above the retrained "
  "models), are not considered, nor are single seeds."
)
_CLOCK = (
  "Wall clock of retraining divided by that of the method, without compilation; both ran one model "
  "after another on one device."
)
