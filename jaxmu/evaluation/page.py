"""The report of an evaluation: verdict, numbers, attacks and what they could see, inputs."""

import math

import pandas as pd

from jaxmu.audit import metrics
from jaxmu.audit.criteria import UNPROVEN
from jaxmu.audit.metric import MAIN
from jaxmu.audit.results import REFERENCES as REFERENCE_MODELS
from jaxmu.audit.results import Cell as Number
from jaxmu.audit.summary import STATISTICS
from jaxmu.audit.text import MISSING, interval, number, plural, spread
from jaxmu.evaluation import evidence_file
from jaxmu.evaluation.result import Evaluation
from jaxmu.report import facts
from jaxmu.report.blocks import (
  MET,
  MISSED,
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
  Warnings,
  described,
)
from jaxmu.report.charts.plots import Axis, Strip
from jaxmu.report.marks import REFERENCES, Mark

LABELS = {"retrained": "Retrained", "original": "Original", "unlearned": "Unlearned"}
_LOOKS = {**REFERENCES, "unlearned": ("blue", "circle")}
_COST = {"RTE_work", "passes"}  # nothing is known of it
_STANDINGS = {True: MET, False: MISSED, None: ""}
CALM = "None of the checks found anything: neither in the inputs nor in what the attacks find."
LEGEND = (
  "Mean ± standard deviation over seeds, and a 95 % interval for other samples and other seeds "
  "together. RetDev and Indisc are computed seed by seed, against the retrained model."
)
BESIDE = "Compare with the retrained model: that is what forgetting looks like."
SEES = (
  "An attack that finds nothing shows little where it could not have found much. Its interval "
  "leaves out one half from the value “sees from” on; a true value of “surely” is seen in four of "
  "five evaluations with as many samples."
)
CHECKING = (
  "The file evidence.json beside this page has all numbers, and the SHA-256 of every array in "
  "evidence.npz. “jaxmu evaluate evidence.json --verify” computes the numbers "
  "again from the arrays and says which differ."
)


def compose(found: Evaluation, title: str) -> Report:
  """Say what an evaluation found, as blocks for a page and for texts."""
  main, sizes = _main(found), found.given.sizes
  order = found.audit.summary.order
  counted = ", ".join(f"{name} {count:,}" for name, count in sizes.items())
  shown = [m for m in metrics.shown(MAIN) if found.audit.summary.has(m.name)]
  return Report(
    title=title,
    kind="evaluation of unlearning",
    subject=f"{plural(sizes['forget'], 'forgotten sample')}, {plural(found.given.seeds, 'seed')}",
    asked="What was evaluated",
    header=Facts(
      (
        ("Models", ", ".join(LABELS[name] for name in order)),
        ("Samples", counted),
        ("Classes", str(found.given.classes)),
        ("Given as", "images and weights" if found.given.images else "logits"),
        ("Versions", facts.plain(evidence_file.versions())),
      )
    ),
    first=_first(found),
    sections=(
      facts.results(LEGEND, BESIDE, main),
      Section("Attacks", (Text(SEES, small=True), _attacks(found), _drawing(found)), "attacks"),
      Section("Warnings", (Warnings(found.cautions, CALM),), "warnings"),
      facts.meanings(shown, "Metrics"),
      Section("Inputs", (Text(CHECKING, small=True), _inputs(found)), "inputs"),
    ),
    marks={name: Mark(LABELS[name], *_LOOKS[name]) for name in order},
    main=main,
    notes=(LEGEND, described(main)),
    numbers=_numbers(found),
    stored="logits",
  )


def _first(found: Evaluation) -> Section:
  verdict = found.verdict
  lead = {
    "passed": "Passed: the unlearned model does what is asked.",
    "failed": "Failed: the unlearned model does not do what is asked.",
    "undecided": "Undecided: these inputs cannot tell whether it worked.",
  }[verdict.outcome]
  cells = tuple(
    Cell(check.words or MISSING, check.interval, _STANDINGS[check.met], check.note)
    for check in verdict.checks
  )
  columns = tuple(Column(one.name, "", one.words) for one in verdict.criteria)
  table = Table(
    "What is asked of the unlearned model",
    columns,
    (Row(LABELS["unlearned"], cells, "unlearned"),),
    explained=True,
  )
  reasons = (Text(f"{reason[:1].upper()}{reason[1:]}.") for reason in verdict.reasons)
  return Section("In short", (Text(lead), *reasons, table, Text(UNPROVEN, small=True)), "verdict")


def _main(found: Evaluation) -> Table:
  """Return one line per model, and a column per main metric that there is."""
  summary = found.audit.summary
  shown = [m for m in metrics.shown(MAIN) if summary.has(m.name) and m.name not in _COST]
  rows = []
  for name in summary.order:
    cells = (summary.cell(name, m.name) for m in shown)
    flags = tuple(c for c in found.cautions if c.method == name)
    made = tuple(Cell(spread(cell), interval(cell)) for cell in cells)
    rows.append(Row(LABELS[name], made, name, name in REFERENCE_MODELS, flags))
  columns = tuple(Column(m.label, m.ideal, m.explanation) for m in shown)
  return Table("Every model", columns, tuple(rows), Column("Model", "ideal"), name="main")


def _attacks(found: Evaluation) -> Table:
  """Return one line per attack: its value on every model, and what it could see."""
  order = found.audit.summary.order
  known = found.attacks.set_index(["attack", "method"])
  rows = []
  for attack in dict.fromkeys(found.attacks["attack"]):
    cells = []
    for name in order:
      one = known.loc[(attack, name)] if (attack, name) in known.index else None
      value = Number() if one is None else Number(1, one["value"], low=one["low"], high=one["high"])
      cells.append(Cell(number(value.mean), interval(value)))
    least = known.loc[(attack, "unlearned")]
    cells += [Cell(number(float(least[name]))) for name in ("visible", "reliable")]
    rows.append(Row(attack.replace("_", " "), tuple(cells)))
  columns = (*(Column(LABELS[name]) for name in order), Column("Sees from"), Column("Surely"))
  return Table("Every attack on every model", columns, tuple(rows), Column("Attack"))


def _drawing(found: Evaluation) -> Drawings:
  """Draw the strongest attack, with T-MIA beneath."""
  summary = found.audit.summary
  cells = {
    name: (summary.cell(name, "T_strongest"), summary.cell(name, "T_MIA")) for name in summary.order
  }
  hints = {name: f"{LABELS[name]}: {number(one.mean)}" for name, (one, _) in cells.items()}
  words = ", ".join(hints.values())
  band = summary.cell("retrained", "T_strongest")
  strip = Strip(
    "strongest",
    "Strongest attack",
    f"Accuracy of the strongest attack: {words}.",
    Axis("accuracy"),
    cells,
    hints,
    0.5,
    band,
  )
  caption = "95 % intervals; hollow: T-MIA. The line is guessing"
  caption += ", the band what retraining leaves." if band.n else "."
  return Drawings((Drawing(strip, caption),))


def _inputs(found: Evaluation) -> Table:
  """List what identifies every input."""
  rows = [
    Row(name, (Cell(one["dtype"]), Cell(facts.plain(one["shape"])), Cell(one["sha256"])))
    for name, one in evidence_file.inputs(found.given).items()
  ]
  columns = (Column("Type"), Column("Shape"), Column("SHA-256"))
  return Table("Every input", columns, tuple(rows), Column("Input"))


def _numbers(found: Evaluation) -> pd.DataFrame:
  """Return the tidy summary: one line per model and metric that has a value."""
  summary = found.audit.summary
  table = [
    {"method": name, "metric": metric, **summary.cell(name, metric)._asdict()}
    for name in summary.order
    for metric in metrics.numbers(found.rows.columns)
    if math.isfinite(summary.cell(name, metric).mean)
  ]
  return pd.DataFrame(table, columns=["method", "metric", *STATISTICS])
