"""The report of a U-LiRA study: its sections, tables, figures and words."""

from collections.abc import Sequence

import pandas as pd

from jaxmu.audit.results import FORGOTTEN, QUESTIONS
from jaxmu.audit.study import study_cautions, study_criteria, study_verdict
from jaxmu.audit.study.judgement import direction
from jaxmu.audit.study.study_statistics import (
  ACCURACIES,
  ATTACKERS,
  BOUND_NOTE,
  BOUNDS,
  FURTHER,
  METRICS,
  RETAIN_SIDE,
  STRATA,
  UPDATES,
  UPPER_BOUND,
)
from jaxmu.audit.text import plural
from jaxmu.report import facts
from jaxmu.report.blocks import (
  Block,
  Drawings,
  Facts,
  Fold,
  Legend,
  Report,
  Section,
  Steps,
  Table,
  Text,
  Warnings,
  described,
)
from jaxmu.report.first_screen import first
from jaxmu.report.ulira import gallery, making
from jaxmu.report.ulira import ulira_figures as figures
from jaxmu.report.ulira import ulira_tables as tables
from jaxmu.report.ulira.ulira_data import StudyData, from_run
from jaxmu.store import Run

__all__ = ["StudyData", "compose", "report"]

READING = Steps(
  (
    "The attacker looks at one sample at a time. Many models that were trained on it and then "
    "forgot it, and many that never saw it, show how each kind scores this very sample; a further "
    "model must be sorted into one of the two. Being right half of the time is guessing.",
    "**Retrained** is the check: to a retrained model a forgotten sample is one it never saw, so "
    "the attack must be at one half. Where it is not, the study is wrong, not the model.",
    "**Original** is the upper bound: the same samples and the same attack before anything was "
    "forgotten.",
    "A method leaks where its interval lies above the retrained models' (▲). The direction does "
    "not matter: a sample whose confidence is pushed **below** that of samples never seen is as "
    "recognisable as one still remembered, and counts above one half too.",
    "Means hide people. The mean over samples can be at one half while single samples are found "
    "with certainty: look at low false-positive rates, at the worst 1 % and at the histograms.",
  )
)
UNSEEN = "the same samples in models of other splits, which never saw them"
CALM = (
  "None of the checks found anything: the retrained models are at one half, the originals show a "
  "signal, no method destroyed the model, over-forgot, or exposed samples that stay."
)
SAMPLES = (
  "How often the attack is right on each sample, per method; the grey shape is that of the "
  "retrained models, which is noise. The solid line is chance, the dotted one 0.6. What sticks out "
  "of the grey to the right is exposed."
)
STAY = (
  "Unlearning may also change how well an attacker recognises samples that were not forgotten. "
  "Here the attack tells retained from never-seen samples. It should succeed, since these samples "
  "are in the training set; the question is whether it succeeds more often than against the "
  "original models."
)
UPPER = (
  "Plain LiRA on the original models: every sample they were trained on against those they never "
  "saw. The strongest upper bound of this study."
)
MORE = (
  (
    "Other attackers",
    ATTACKERS,
    "The same question asked with other means. One that finds clearly more than U-LiRA deserves a "
    "look.",
  ),
  (
    "What an update gives away",
    UPDATES,
    "An attacker who holds the model from before and the one from after looks at what changed. "
    "Retraining changes much, too: compare with it.",
  ),
  (
    "Vulnerable and protected samples",
    STRATA,
    "The tenth of the samples that the original models expose most, and the half that they expose "
    "least, chosen on one half of the splits and attacked in the other. Efficacy compares "
    "unlearned models with models retrained without the same samples.",
  ),
  ("A bound that an auditor recognises", BOUNDS, BOUND_NOTE),
)
EXPOSED = (
  "The samples whose scores lie furthest apart between models that forgot them and models that "
  "never saw them, per method. Each half of the splits chooses samples; the number is the accuracy "
  "of the attack on the sample in the other half, which had no part in the choice, so noise gives "
  "one half (in coarse steps, as few models forgot one sample). Confidence is the mean log-odds of "
  "the label in models that forgot the sample and in models that never saw it."
)
NUMBERS = (
  (
    "Accuracy per sample",
    FURTHER,
    "Mean and quantiles over samples of the accuracy that the attack has on each. Quantiles grow "
    "with the noise of few models: compare with the retrained models'.",
  ),
  (
    "Classification accuracy by role",
    ACCURACIES,
    "Of the attacked models, on the samples that they retain, forgot, or never saw.",
  ),
)
PUSHED = (
  "Positive differences mean that forgotten samples are still known better than samples never "
  "seen, negative ones that they are known less than that (over-forgetting)."
)


def report(run: Run) -> Report:
  """Read a run and say what it shows.

  Raises:
    StoreError: a table is missing or damaged.
  """
  return compose(from_run(run))


def compose(data: StudyData) -> Report:
  """Say what a study shows."""
  cautions = tuple(study_cautions.find(data))
  main, legend = tables.main(data, cautions), tables.legend(data)
  sentences = study_verdict.write(data, cautions)
  passes = {name: cost.passes for name, cost in data.timings.items()}
  sets = plural(data.record.forgets, "forget set")
  return Report(
    title=data.title,
    kind="U-LiRA study",
    subject=f"{facts.task(data)}, {plural(data.record.splits, 'split')} with {sets} each",
    header=_header(data),
    first=first(data, study_criteria.decide(data, cautions, data.config.report, passes)),
    sections=(
      Section("What the numbers say", tuple(map(Text, sentences)), "numbers"),
      Section("How to read this", (READING,), page_only=True),
      facts.results(legend, tables.LEGEND, main),
      Section("Warnings", (Warnings(cautions, CALM),), "warnings"),
      _figures(data),
      _retained(data),
      _more(data),
      _exposed(data),
      facts.meanings(METRICS, "Numbers"),
      facts.methods(data, data.order),
      Section("Cost", _costs(data), "cost"),
      _making(data),
    ),
    marks=data.marks,
    main=main,
    notes=(legend, tables.LEGEND, described(main)),
    numbers=_numbers(data),
    stored="the run's stored tables",
  )


def _header(data: StudyData) -> Facts:
  known = vars(data.record.sizes).items()
  sizes = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in known)
  asked = [("Models per method", f"{data.record.models:,}"), *facts.request(data, UNSEEN)]
  return facts.header(data, asked, sizes)


def _figures(data: StudyData) -> Section:
  attack, samples = figures.attack(data), figures.samples(data)
  found: list[Block] = [Legend(data.order)]
  if attack:
    found.append(Section("All samples together", (Drawings(attack),)))
  if samples:
    tiles = Drawings(samples, small=True)
    found.append(Section("Sample by sample", (Text(SAMPLES, small=True), tiles)))
  return Section("Figures", tuple(found), "figures", page_only=True)


def _retained(data: StudyData) -> Section:
  table = tables.further(data, "Attacks on retained samples", RETAIN_SIDE)
  found: list[Block] = [Text(STAY), *_or(table, "This run stored no attack on retained samples.")]
  if drawn := figures.retained(data):
    found.append(Drawings(drawn))
  upper = tables.further(data, "Plain LiRA on the original models", UPPER_BOUND, ("original",))
  if upper.rows:
    title = "All training samples, before unlearning"
    found.append(Section(title, (Text(UPPER, small=True), upper)))
  return Section("Samples that stay", tuple(found), "retained", "Retained samples")


def _more(data: StudyData) -> Section:
  return Section("More attackers, more questions", _tables(data, MORE), "more", "More questions")


def _tables(
  data: StudyData, wanted: Sequence[tuple[str, Sequence, str]], fold: bool = False
) -> tuple[Block, ...]:
  """Return tables under their titles, with their words; those without a value are left out."""
  found: list[Block] = []
  for title, statistics, words in wanted:
    table = tables.further(data, title, statistics)
    if table.rows:
      blocks = (Text(words, small=True), table)
      found.append(Fold(title, blocks) if fold else Section(title, blocks))
  return tuple(found)


def _or(table: Table, absent: str) -> list[Block]:
  return [table] if table.rows else [Text(absent, small=True)]


def _exposed(data: StudyData) -> Section:
  listed = gallery.table(data)
  pictures: Block = gallery.gallery(data) if listed.rows else Text("This run stored no thumbnails.")
  blocks = (Text(EXPOSED), Section("", (pictures,), page_only=True), Fold("As a table", (listed,)))
  return Section(
    "Most exposed samples", blocks if listed.rows else (pictures,), "exposed", "Most exposed"
  )


def _costs(data: StudyData) -> tuple[Block, ...]:
  table = making.costs(data)
  if not table.rows:
    return (Text("This run stored no timings.", small=True),)
  return table, Text(making.COST_NOTE, small=True)


def _making(data: StudyData) -> Section:
  numbers = list(_tables(data, NUMBERS, fold=True))
  if (pushed := tables.directions(data)).rows:
    numbers.append(Fold("Remembered or pushed away", (Text(PUSHED, small=True), pushed)))
  return Section(
    "How the study was made",
    (
      making.making(data),
      Section("Further numbers", tuple(numbers)),
      Section("Provenance", (facts.provenance(data),)),
    ),
    "making",
    "How it was made",
  )


def _numbers(data: StudyData) -> pd.DataFrame:
  """Return the tidy summary: one line per method, question and statistic, as the tables have it.

  `score_gap` and `share_below` are those of `judgement.direction`.
  """
  known = lambda question: (*QUESTIONS, question).index(question)
  rows = []
  for name in data.order:
    mine = [(q, s, cell) for (method, q, s), cell in data.cells.items() if method == name]
    for question, statistic, cell in sorted(mine, key=lambda entry: known(entry[0])):
      rows.append((name, question, statistic, cell.mean, cell.low, cell.high))
    found = direction(data, name)
    rows.append((name, FORGOTTEN, "score_gap", found.gap, None, None))
    rows.append((name, FORGOTTEN, "share_below", found.below, None, None))
  return pd.DataFrame(rows, columns=["method", "question", "statistic", "value", "low", "high"])
