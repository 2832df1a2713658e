"""The report of a benchmark: its sections, tables, figures and words."""

from collections.abc import Sequence

import pandas as pd

from jaxmu.audit import criteria, metrics, verdict
from jaxmu.audit.metric import DETAIL, DISTANCES, MAIN
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.rules import Caution, gravest_first
from jaxmu.audit.summary import STATISTICS
from jaxmu.audit.text import listing, number, plural
from jaxmu.report import facts
from jaxmu.report.benchmark import benchmark_figures as figures
from jaxmu.report.benchmark import benchmark_rounds
from jaxmu.report.benchmark import benchmark_traces as traces
from jaxmu.report.benchmark import main_table as tables
from jaxmu.report.benchmark.benchmark_data import Judged, ReportData, from_run, judge
from jaxmu.report.blocks import (
  Block,
  Cell,
  Column,
  Drawings,
  Facts,
  Fold,
  Legend,
  Report,
  Row,
  Section,
  Steps,
  Table,
  Text,
  Warnings,
  described,
)
from jaxmu.report.first_screen import first
from jaxmu.settings.choices import CONTROLS, RANDOM
from jaxmu.store import Run

__all__ = ["ReportData", "compose", "report"]

READING = Steps(
  (
    "The original models saw the forget set, the retrained ones never did. A method starts from an "
    "original model and should end where the retrained one is, for less work.",
    "So every number is compared with **retrained**, not with zero or one hundred per cent. Lower "
    "forget accuracy than retrained is damage.",
    "Look first whether the original shows a membership signal and retrained does not. Otherwise "
    "the benchmark cannot separate methods.",
    "Intervals are for other samples and other seeds together. Two methods are compared on the "
    "same samples and seeds, so their paired difference is surer than the two intervals beside "
    "each other: the marks ≈ and bold come from it.",
    "“MIA” and “Indisc” are the paper's numbers and see one kind of trace only. “Strongest” tries "
    "several attacks; where it stands above the retrained models (▲), forgotten samples are "
    "recognised, whatever the columns beside it say.",
  )
)
CALM = (
  "None of the checks found anything: no model destroyed, no member non-finite, no method "
  "over-unlearned or recognised by an attack that another misses, and the reference models behave "
  "as they should."
)
CLOCKS = (
  "A stage's clock covers the whole population, trained in one compiled program, without "
  "compilation and without evaluation. It depends on how many members share the device, and on "
  "what else the machine does (compiling for coming stages, other processes), so it is no "
  "run-time efficiency of a method: read RTE, which counts work, for that."
)
DETAILS = (
  "Validation accuracy (VA), test accuracy on classes that stay and that are forgotten, retain "
  "accuracy times what is not known of the forget set (J), ratios to the retrained model (RR, FR, "
  "TR), the attack against validation samples (V MIA), areas under the ROC curve of the raw loss, "
  "the single attacks of which “Strongest” is one (T margin ... T histogram), the share of forget "
  "samples that a support-vector classifier takes for unseen (SVC MIA; ideal: as retrained), mean "
  "difference of four numbers to retraining (gap), half of test accuracy and half of Indisc "
  "(NoMUS), symmetric error of the forget accuracy in per cent (SAPE), mean losses."
)
OF_MEANS = (
  "RetDev and Indisc are not linear. Here they are computed once, from mean accuracies and the "
  "mean MIA; some publications do it this way. Values are smaller (RetDev) or larger (Indisc) than "
  "means over seeds, because deviations of single seeds cancel."
)
SPREAD = (
  "Standard deviations of one model's number, from {seeds} originals, each unlearned {repeats} "
  "times. Training: between originals of different seeds. Unlearning: between runs of the method "
  "from one original. Samples: what other samples in the same sets would do, in an attack above "
  "all. All other tables use the first run from each original: unlearning one original more often "
  "says nothing about other originals, so it does not replace training seeds, least of all where "
  "training is the larger part."
)
APART = (
  "U is the method's model, O and R are the original and the retrained model of the same seed; "
  "trainable parameters only. Distances never rank methods: networks with the same behaviour can "
  "lie far apart."
)


def report(run: Run) -> Report:
  """Read a run and say what it shows.

  Raises:
    StoreError: rows are missing or damaged.
  """
  return compose(from_run(run))


def compose(data: ReportData, known: Sequence[Caution] = ()) -> Report:
  """Say what a benchmark shows.

  Args:
    known: warnings beside those that its numbers give.
  """
  judged = judge(data)
  judged = judged._replace(cautions=tuple(gravest_first([*known, *judged.cautions])))
  main, sentences = tables.main(judged), verdict.write(data, judged.summary, judged.cautions)
  legend, column = tables.legend(data), metrics.METRICS[data.deviation].label
  return Report(
    title=data.title,
    kind="unlearning report",
    subject=f"{facts.task(data)}, {plural(len(data.seeds), 'seed')}",
    header=_header(data),
    first=first(data, criteria.decide(*judged, data.config.report)),
    sections=(
      Section("What the numbers say", tuple(map(Text, sentences)), "numbers"),
      Section("How to read this", (READING,), page_only=True),
      facts.results(f"{legend} Methods are sorted by {column}.", tables.STANDING, main),
      Section("Warnings", (Warnings(judged.cautions, CALM),), "warnings"),
      _figures(judged),
      facts.meanings(tables.shown(data), "Metrics"),
      facts.methods(data, judged.summary.order),
      _details(judged),
    ),
    marks=data.marks,
    main=main,
    notes=(legend, tables.STANDING, described(main)),
    numbers=_numbers(judged),
    members=data.rows,
    split=data.manifest.split.sha256,
  )


def _header(data: ReportData) -> Facts:
  split, known = data.manifest.split, data.split_sizes
  order = ("train", "retain", "forget", "val", "test", "control")
  sizes = ", ".join(f"{name} {known[name]:,}" for name in order if name in known)
  if split.per_seed:
    sizes += "; every seed has a split of its own, so the spread includes the choice of samples"
  if data.draws > 1 or data.last_round:
    sizes += "; those of the first forget set" + (", all rounds" if data.last_round else "")
  control = CONTROLS[data.config.scenario.forget if "control" in known else RANDOM]
  asked = [("Seeds", _seeds(data.seeds)), *facts.request(data, control)]
  return facts.header(data, asked, sizes, split.sha256[:12])


def _seeds(seeds: list[int]) -> str:
  if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
    return f"{seeds[0]} to {seeds[-1]} ({len(seeds)})"
  return ", ".join(map(str, seeds))


def _figures(judged: Judged) -> Section:
  _, left_out = figures.without_outliers(judged)
  dots = (
    "One dot per seed, over a box from the lower to the upper quartile with the median. The dotted "
    "line is the mean of the retrained models."
  )
  if left_out:
    dots += f" Not drawn: {listing(judged.data.label(name) for name in left_out)}."
  quality = Section("Quality and cost", (Drawings(figures.comparison(judged)),))
  every = Section("Every seed", (Text(dots, small=True), Drawings(figures.seeds(judged))))
  named = {
    "Order": traces.order(judged),
    "What is left": traces.traces(judged),
    "Class by class": traces.classes(judged),
    "What forgotten classes are taken for": traces.confusion(judged),
  }
  more = [Section(title, (Drawings(drawn),)) for title, drawn in named.items() if drawn]
  parts = (quality, *benchmark_rounds.rounds(judged), *more, every, *_curves(judged))
  return Section("Figures", (Legend(judged.summary.order), *parts), "figures", page_only=True)


def _curves(judged: Judged) -> list[Block]:
  training, unlearning = figures.training(judged, REFERENCES), figures.unlearning(judged)
  if not training and not unlearning:
    return [Section("Training", (Text("This run stored no training curves.", small=True),))]
  mean = (
    "Mean over seeds; the shade reaches from the lowest to the highest seed. Measured on the "
    "(augmented) training batches while the model learns."
  )
  small = (
    "On the batches that each method trains on, which differ between methods; a dotted line marks "
    "a new phase."
  )
  present = tuple(n for n in REFERENCES if n in judged.summary.order)
  legend = Legend(present, dashed=("original",))
  found: list[Block] = []
  if training:
    found.append(Section("Training", (Text(mean, small=True), legend, Drawings(training))))
  if unlearning:
    tiles = Drawings(unlearning, small=True)
    found.append(Section("Unlearning", (Text(small, small=True), tiles)))
  return found


def _details(judged: Judged) -> Section:
  plain = lambda name: (name, name.replace("_", " "), "")
  more = {
    "Further metrics": (DETAILS, [plain(m.name) for m in metrics.shown(DETAIL)]),
    "The other order of averaging": (OF_MEANS, [plain(name) for name in metrics.of_means()]),
    "Distances between parameters": (
      APART,
      [(m.name, m.label, m.explanation) for m in metrics.shown(DISTANCES)],
    ),
  }
  folds = [
    Fold(title, (Text(words, small=True), table))
    for title, (words, wanted) in more.items()
    if (table := tables.further(judged, title, wanted)).rows
  ]
  if len(judged.data.variance):
    counts = judged.data.variance.iloc[0][["seeds", "repeats"]].to_dict()
    parts = tables.variance(judged.data, judged.summary.methods)
    words = Text(SPREAD.format(**counts), small=True)
    folds.insert(0, Fold("Where the spread comes from", (words, parts)))
  if len(judged.data.rounds):
    after = Text("Mean over seeds, with the 95 % interval.", small=True)
    folds.insert(0, Fold("Round by round", (after, benchmark_rounds.table(judged))))
  words = Text("One row per model; rows.parquet holds all columns.", small=True)
  members = Section("", (Fold("Every member", (words, tables.members(judged))),), page_only=True)
  time = Section("Time", _time(judged.data))
  provenance = Section("Provenance", (facts.provenance(judged.data),))
  return Section("Details", (*folds, members, time, provenance), "details")


def _time(data: ReportData) -> tuple[Block, ...]:
  if not data.timings:
    return (Text("This run stored no timings.", small=True),)
  rows = []
  for name, stage in data.timings.items():
    seconds = (number(s, 1) for s in (stage.wall_s, stage.compile_s, stage.predict_s))
    cells = map(Cell, (*seconds, f"{stage.steps:,}"))
    rows.append(Row(_stage(data, name), tuple(cells)))
  columns = map(Column, ("wall (s)", "compilation (s)", "predictions (s)", "steps"))
  table = Table("Clocks of whole stages", tuple(columns), tuple(rows), Column("Stage"))
  return table, Text(CLOCKS, small=True)


def _stage(data: ReportData, name: str) -> str:
  method, _, more = name.partition(".")
  return f"{data.label(method)}, further runs" if more else data.label(name)


def _numbers(judged: Judged) -> pd.DataFrame:
  """Return the tidy summary: one line per method and metric, in the order of the tables."""
  summary, rows = judged.summary, judged.data.rows
  lead = [metric.name for metric in metrics.shown(MAIN) if metric.name in rows]
  rest = [name for name in metrics.numbers(rows.columns) if name not in lead]
  averaged_first = [name for name in metrics.of_means() if summary.has(name)]
  table = [
    {"method": name, "metric": metric, **summary.cell(name, metric)._asdict()}
    for name in summary.order
    for metric in (*lead, *rest, *averaged_first)
  ]
  return pd.DataFrame(table, columns=["method", "metric", *STATISTICS])
