"""How a study was made and what it cost, as label and text."""

import functools
import math
from collections.abc import Mapping

from jaxmu.audit.text import MISSING, amount, duration, factor, listing, number, plural
from jaxmu.report.blocks import Cell, Column, Facts, Row, Table
from jaxmu.report.ulira.ulira_data import StudyData
from jaxmu.settings.choices import RANDOM
from jaxmu.store.groups import Cost
from jaxmu.store.records import StudyRecord

_VARIANCE = {
  "fixed": "one variance per role for all samples",
  "sample": "a variance per sample and role",
  "scaled": "a variance per sample from models that never saw it, times one ratio for all samples",
}
_FIT = {
  "normal": "mean and standard deviation",
  "robust": "median and median absolute deviation",
  "median": "median and standard deviation",
}
_LEAVE_OUT = {
  "split": "all models of the attacked model's split, which share its training half",
  "model": "the attacked model alone",
  "nothing": "nothing",
}
_PAIRED = (
  "paired: for each attacked model both fits leave one group out, so that few models do not move "
  "noise off one half"
)
COST_NOTE = (
  "Clocks cover the whole population of a stage, without compilation and predictions; they depend "
  "on the device and on how many models share it. Work counts sample-passes of one model (a "
  "forward pass counts 1, a backward pass 2) and does not. RTE is the work of retraining divided "
  "by that of the method."
)


def making(data: StudyData) -> Facts:
  """Explain splits, forget sets, counts per sample and the attack, in words."""
  study, attack = data.record, data.record.attack
  found = (
    ("Splits", _splits(study)),
    ("Forget sets", _forget_sets(study)),
    ("Original models", _originals(study)),
    ("Models per sample", _counts(data)),
    ("Attacker's fits", f"{_word(attack.fit, _FIT)}; {_word(attack.variance, _VARIANCE)}"),
    ("Left out of a fit", _word(attack.leave_out, _LEAVE_OUT)),
    ("Roles in a fit", _PAIRED if attack.paired else "each role by itself"),
    ("Left out of the study", _failures(data)),
  )
  return Facts(found)


def costs(data: StudyData) -> Table:
  """Return models, clocks and work of every stage, the sum last."""
  spent = data.timings
  base = spent["retrained"].passes if "retrained" in spent else math.nan
  rows = []
  for name, cost in spent.items():
    rate = base / cost.passes if cost.passes > 0 and name != "original" else math.nan
    cheaper = factor(rate) if rate and math.isfinite(rate) else MISSING
    rows.append(_row(data.label(name), [*_clocks(cost), amount(cost.passes), cheaper]))
  if len(rows) > 1:
    whole = functools.reduce(Cost.plus, spent.values())
    rows.append(_row("All", [*_clocks(whole), "", ""]))
  labels = ("models", "wall clock", "compilation", "predictions", "work per model", "RTE")
  columns = tuple(map(Column, labels))
  return Table("Models, clocks and work of every stage", columns, tuple(rows), Column("Stage"))


def _row(label: str, cells: list[str]) -> Row:
  return Row(label, tuple(map(Cell, cells)))


def _clocks(cost: Cost) -> list[str]:
  seconds = (cost.wall_s, cost.compile_s, cost.predict_s)
  return [f"{cost.models:,}", *map(duration, seconds)]


def _word(value: str, words: Mapping[str, str]) -> str:
  return words.get(value, value)


def _splits(study: StudyRecord) -> str:
  sizes = study.sizes
  return (
    f"{plural(study.splits, 'random split')} of a pool of {study.pool:,} samples into "
    f"{sizes.train:,} to train on and {sizes.held_out:,} never seen"
  )


def _forget_sets(study: StudyRecord) -> str:
  sets, models = plural(study.forgets, "forget set"), plural(study.models, "model")
  return f"{sets} per split of {study.sizes.forget:,} trained samples each: {models} per method"


def _originals(study: StudyRecord) -> str:
  shared = study.originals < study.models
  how = "each shared by the forget sets of its split" if shared else "one per forget set"
  return f"{study.originals:,} trained, {how}"


def _counts(data: StudyData) -> str:
  study, everyone = data.record, data.config.scenario.forget == RANDOM
  pairs = (
    ("forgotten by", study.forgotten_per_sample),
    ("never seen by", study.never_per_sample),
  )
  parts = [
    f"{words} {number(count.mean, 1)} models on average ({count.min:,} to {count.max:,})"
    for words, count in pairs
  ]
  who = "a sample" if everyone else "a sample that some model forgot"
  return f"{who} was {', '.join(parts)}"


def _failures(data: StudyData) -> str:
  failed = {name: data.failed(name) for name in data.order if data.failed(name)}
  return (
    listing(f"{plural(n, 'diverged model')} of {data.label(name)}" for name, n in failed.items())
    or "nothing"
  )
