"""How a study was made and what it cost, as label and text."""

import math
from collections.abc import Mapping
from typing import Any

from jaxmu.audit.text import MISSING, factor, listing, number, plural
from jaxmu.report import facts
from jaxmu.report.marks import mark
from jaxmu.report.study.data import StudyData

SETS = ("train", "retain", "forget", "val", "held_out")
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


def subject(data: StudyData) -> str:
  """Name the study in one line: network on data set, splits and forget sets."""
  study = data.study
  sets = plural(int(study["forgets"]), "forget set")
  return f"{facts.task(data)}, {plural(int(study['splits']), 'split')} with {sets} each"


def header(data: StudyData) -> list[tuple[str, str]]:
  """List what a reader must know before the first number."""
  known = data.study.get("sizes") or {}
  sizes = ", ".join(f"{name.replace('_', ' ')} {known[name]:,}" for name in SETS if name in known)
  found = [
    ("Model", facts.model(data)),
    ("Data set", facts.dataset(data)),
    ("Models per method", f"{int(data.study['models']):,}"),
    ("Commit", data.manifest.commit[:12] or MISSING),
    ("Date", data.manifest.date),
    ("Device", facts.device(data.manifest)),
    ("Split sizes", sizes or MISSING),
    ("Versions", facts.plain(data.manifest.versions)),
    ("Command", data.manifest.command or MISSING),
  ]
  if data.random_labels > 0:
    found.append(("Random labels", facts.random_labels(data)))
  return found


def making(data: StudyData) -> list[tuple[str, str]]:
  """Explain splits, forget sets, counts per sample and the attack, in words."""
  attack = data.study.get("attack") or {}
  return [
    ("Splits", _splits(data.study)),
    ("Forget sets", _forget_sets(data.study)),
    ("Original models", _originals(data.study)),
    ("Models per sample", _counts(data.study)),
    ("Attacker's fits", f"{_word(attack, 'fit', _FIT)}; {_word(attack, 'variance', _VARIANCE)}"),
    ("Left out of a fit", _word(attack, "leave_out", _LEAVE_OUT)),
    ("Roles in a fit", _PAIRED if attack.get("paired") else "each role by itself"),
    ("Left out of the study", _failures(data)),
  ]


def provenance(data: StudyData) -> list[tuple[str, str]]:
  """List everything that identifies the run, as far as it is known."""
  return [(name, words) for name, words in facts.provenance(data) if words != MISSING]


def costs(data: StudyData) -> tuple[list[str], list[list[str]]]:
  """Return head and rows of the cost table, the sum last."""
  head = ["Stage", "models", "wall clock", "compilation", "predictions", "work per model", "RTE"]
  base = (data.timings.get("retrained") or {}).get("passes")
  body = []
  for name, stage in data.timings.items():
    get = lambda key, stage=stage: _number(stage.get(key))
    rate = get("passes") > 0 and name != "original" and _number(base) / get("passes")
    clocks = (duration(get(key)) for key in ("wall_s", "compile_s", "predict_s"))
    count = f"{get('models'):,.0f}" if math.isfinite(get("models")) else MISSING
    cheaper = factor(rate) if rate and math.isfinite(rate) else MISSING
    body.append([mark(name).label, count, *clocks, amount(get("passes")), cheaper])
  if len(body) > 1:
    total = lambda key: sum(_number(s.get(key), 0.0) for s in data.timings.values())
    clocks = (duration(total(key)) for key in ("wall_s", "compile_s", "predict_s"))
    body.append(["All", f"{total('models'):,.0f}", *clocks, "", ""])
  return head, body


def duration(seconds: float) -> str:
  """Write a time in the unit that suits it: 12.3 s, 4.5 min, 2.31 h."""
  if not math.isfinite(seconds):
    return MISSING
  if seconds < 100:
    return f"{number(seconds, 1)} s"
  return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:,.2f} h"


def amount(value: float) -> str:
  """Write a large count with three digits: 812, 27.8 k, 1.25 M."""
  if not math.isfinite(value):
    return MISSING
  for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
    if value >= size:
      return f"{factor(value / size)} {unit}"
  return f"{value:.0f}"


def _number(value: Any, otherwise: float = math.nan) -> float:
  return otherwise if value is None else float(value)


def _word(attack: Mapping, key: str, words: Mapping[str, str]) -> str:
  value = str(attack.get(key, MISSING))
  return words.get(value, value)


def _splits(study: Mapping) -> str:
  sizes = study.get("sizes") or {}
  text = plural(int(study["splits"]), "random split")
  text += f" of a pool of {study['pool']:,} samples" if isinstance(study.get("pool"), int) else ""
  if "train" in sizes and "held_out" in sizes:
    text += f" into {sizes['train']:,} to train on and {sizes['held_out']:,} never seen"
  return text


def _forget_sets(study: Mapping) -> str:
  size = (study.get("sizes") or {}).get("forget")
  each = f" of {size:,} trained samples each" if size is not None else ""
  sets = plural(int(study["forgets"]), "forget set")
  return f"{sets} per split{each}: {plural(int(study['models']), 'model')} per method"


def _originals(study: Mapping) -> str:
  count = study.get("originals")
  if count is None:
    return MISSING
  shared = count < study["models"]
  how = "each shared by the forget sets of its split" if shared else "one per forget set"
  return f"{count:,} trained, {how}"


def _counts(study: Mapping) -> str:
  parts = []
  for key, words in (("forgotten", "forgotten by"), ("never", "never seen by")):
    count = study.get(f"{key}_per_sample") or {}
    if {"mean", "min", "max"} <= set(count):
      spread = f"{count['min']:,} to {count['max']:,}"
      parts.append(f"{words} {number(float(count['mean']), 1)} models on average ({spread})")
  return f"a sample was {', '.join(parts)}" if parts else MISSING


def _failures(data: StudyData) -> str:
  failed = {name: data.failed(name) for name in data.order if data.failed(name)}
  return (
    listing(f"{plural(n, 'diverged model')} of {mark(name).label}" for name, n in failed.items())
    or "nothing"
  )
