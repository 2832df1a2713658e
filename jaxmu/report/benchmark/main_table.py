"""The tables of a benchmark: every metric of every method, and what the columns mean."""

from collections.abc import Iterable, Mapping

from jaxmu.audit import metrics
from jaxmu.audit.attack_words import attack_note
from jaxmu.audit.cautions import markable, shown_by_loss
from jaxmu.audit.metric import MAIN, MEMBERS, Metric
from jaxmu.audit.metrics import METRICS
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.summary import best, recognised
from jaxmu.audit.text import MISSING, factor, interval, number, plural, speed, spread
from jaxmu.report.benchmark.benchmark_data import Judged, ReportData
from jaxmu.report.blocks import BEST, RAISED, SHARED, Cell, Column, Row, Table
from jaxmu.report.facts import counted

CLOCK = Column(
  "RTE (clock)",
  "large",
  "Wall clock of retraining divided by that of the method, without compilation; both ran one model "
  "after another on one device.",
)
STANDING = (
  "Bold marks the best method of a column if its paired difference from every other one excludes "
  "zero (same seeds, same samples); otherwise the whole group that cannot be told from the best is "
  "marked with ≈, because the order inside it may be chance. Methods that destroyed the model or "
  "changed nothing, or that an attack recognises (▲: above one half and above the retrained "
  "models), are not considered, nor are single seeds."
)


def shown(data: ReportData) -> list[Metric]:
  """Return the metrics of the main table, as this run needs them."""
  instead = {"TA": data.test_metric, "RetDev": data.deviation}
  found = [METRICS[instead.get(m.name, m.name)] for m in metrics.shown(MAIN)]
  if data.test_metric == "TA_kept":
    found.insert(found.index(METRICS["TA_kept"]) + 1, METRICS["TA_forgotten"])
  return found


def main(judged: Judged) -> Table:
  """Return one line per method in the order of the tables, and a column per main metric."""
  data, summary = judged.data, judged.summary
  wanted = shown(data)
  clock, standings = wall_rte(data), _standings(judged)
  columns = [Column(m.label, m.ideal, m.explanation) for m in wanted]
  columns += [CLOCK] if clock else []
  unit = "seeds" if data.draws == 1 else "forget sets of all seeds"
  members = f"Members ({unit}) in the mean; failed ones are left out and counted."
  rows = []
  for name in summary.order:
    cells = [_cell(judged, name, m.name, standings) for m in wanted]
    cells += [_clock(name, clock)] if clock else []
    cells.append(Cell(counted(summary.members[name], summary.failed.get(name, 0))))
    flags = tuple(c for c in judged.cautions if c.method == name)
    rows.append(Row(data.label(name), tuple(cells), name, name in REFERENCES, flags))
  return Table(
    f"Every metric of every method, sorted by {METRICS[data.deviation].label}",
    (*columns, Column("n", unit, members)),
    tuple(rows),
    Column("Method", "ideal"),
    name="main",
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


def _clock(method: str, clock: Mapping[str, float]) -> Cell:
  shown = method in clock and method != "original"  # nothing was unlearned, so nothing was saved
  return Cell(factor(clock[method]) if shown else MISSING)


def _cell(judged: Judged, method: str, key: str, standings: Mapping[tuple[str, str], str]) -> Cell:
  if method == "original" and key == "RTE_work":
    return Cell(MISSING)
  cell, standing = judged.summary.cell(method, key), standings.get((method, key), "")
  if key == "RTE_work":
    return Cell(speed(cell), standing=standing)
  note = attack_note(judged.data.rows, method) if key == "T_strongest" else ""
  return Cell(spread(cell), interval(cell), standing, note)


def _standings(judged: Judged) -> dict[tuple[str, str], str]:
  data, summary, cautions = judged
  eligible = markable(data, summary, cautions)
  found = {(n, "T_strongest"): RAISED for n in summary.order if recognised(summary, n)}
  found |= {(n, "T_MIA"): RAISED for n in summary.order if shown_by_loss(data, summary, n)}
  for metric in metrics.ranked():
    names = best(summary, metric, eligible)
    found |= {(name, metric): BEST if len(names) == 1 else SHARED for name in names}
  return found


def legend(data: ReportData) -> str:
  """Say how to read a cell."""
  count = plural(len(data.seeds), "seed")
  lead = ""
  if data.draws > 1:
    lead += f"A seed's number is the mean over its {data.draws} forget sets, which share a model. "
  if data.last_round:
    lead += f"After {plural(data.last_round, 'round')}: FA and attacks are those of the last one. "
  if len(data.seeds) == 1:
    return (
      f"{lead}Values of the one seed; 95 % intervals speak of other samples, not of other seeds."
    )
  return lead + (
    f"Mean ± sample standard deviation over {count}, and a 95 % interval for other samples and "
    "other seeds together. Derived numbers are computed per seed, against the retrained model of "
    "the same seed, then averaged. What initialisation alone moves stands in report.csv "
    f"(seeds_low, seeds_high; {data.bootstrap:,} bootstrap resamples of the seeds)."
  )


def further(judged: Judged, caption: str, wanted: Iterable[tuple[str, str, str]]) -> Table:
  """Lay out metrics, (name, label, meaning), by method; what no method has is left out."""
  summary = judged.summary
  present = [one for one in wanted if summary.has(one[0])]
  value = lambda cell: Cell(spread(cell), interval(cell))
  rows = (
    Row(
      judged.data.label(name),
      tuple(value(summary.cell(name, metric)) for metric, _, _ in present),
      name,
      name in REFERENCES,
    )
    for name in summary.order
  )
  columns = tuple(Column(label, "", words) for _, label, words in present)
  return Table(caption, columns, tuple(rows) if present else ())


SPREADS = ("FA", "TA", "T_MIA", "T_strongest")


def variance(data: ReportData, methods: Iterable[str]) -> Table:
  """Lay out the parts of the spread of a few metrics, by method."""
  known = data.variance.set_index(["method", "metric"])
  metrics_of = {name: METRICS[name].label for name in SPREADS if name in known.index.levels[1]}
  parts = ("training", "unlearning", "samples")
  rows = []
  for name in methods:
    cells = [
      Cell(number(float(known.loc[(name, metric), part])) if (name, metric) in known.index else "–")
      for metric in metrics_of
      for part in parts
    ]
    rows.append(Row(data.label(name), tuple(cells), name))
  columns = tuple(Column(f"{label}, {part}") for label in metrics_of.values() for part in parts)
  return Table("Standard deviation by source", columns, tuple(rows))


def members(judged: Judged) -> Table:
  """Lay out every row, methods in the order of the tables, then by seed."""
  data = judged.data
  present = [m.name for m in metrics.shown(MEMBERS) if m.name in data.rows]
  order = [key for key in ("seed", "draw") if key in data.every]
  rows = []
  for name in judged.summary.order:
    of_method = data.every[data.every["method"] == name].sort_values(order)
    for row in of_method.to_dict("records"):
      failed = row["failed_steps"] or ("" if row["finite"] else "non-finite")
      values = [number(float(row[key])) for key in present]
      cells = (*(str(row[key]) for key in order), *values, failed)
      rows.append(Row(data.label(name), tuple(map(Cell, cells)), name))
  named = {"seed": "Seed", "draw": "Draw"}
  labels = (*(named[key] for key in order), *(name.replace("_", " ") for name in present), "Failed")
  return Table("One row per model", tuple(map(Column, labels)), tuple(rows))
