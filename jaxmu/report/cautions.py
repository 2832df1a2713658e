"""Warnings: what would mislead a reader who looks only at the table."""

import math
from typing import NamedTuple

from jaxmu.report.data import REFERENCES, ReportData
from jaxmu.report.marks import mark
from jaxmu.report.summary import FORGET_GAP, Summary, split_resolution
from jaxmu.report.text import factor, number, plural, value

LEVELS = ("severe", "caution", "note")
MIN_RETENTION = 0.5  # mean TR below this is a failure (spec evaluation 8)
OVER_UNLEARNED = 0.45  # an interval entirely below is no attack at one half
HIDDEN_GAP = 0.03  # forget accuracy this far above retraining contradicts an MIA at one half
FEW_SEEDS = 5  # bootstrap intervals of fewer members are too narrow


class Caution(NamedTuple):
  """One warning; `method` is empty where it concerns the whole benchmark."""

  level: str  # "severe" | "caution" | "note"
  code: str
  method: str
  title: str
  text: str


def find(data: ReportData, summary: Summary) -> list[Caution]:
  """List the warnings, the gravest first, then the benchmark's, then in the tables' order."""
  found = [*_signal(data, summary), *_reference(data, summary), *_seeds(data)]
  for method in summary.order:
    found += _non_finite(data, summary, method)
    found += _collapsed(data, summary, method)
    if method not in REFERENCES:
      found += _over_unlearned(summary, method)
      found += _hidden(summary, method)
      found += _validation(data, method)
  return sorted(found, key=lambda caution: LEVELS.index(caution.level))


def destroyed(cautions: list[Caution]) -> frozenset[str]:
  """Name the methods with a severe warning; they are never marked as best."""
  return frozenset(c.method for c in cautions if c.level == "severe" and c.method)


def _signal(data: ReportData, summary: Summary) -> list[Caution]:
  cell, reference = summary.cell("original", "T_MIA"), summary.cell("retrained", "T_MIA")
  floor = max(0.5, reference.bounds[1]) if reference.n else 0.5
  # One seed has no interval; the size of the sets still says what can be resolved.
  doubt = 0.0 if cell.has_interval or not split_resolution(data) > 0 else 2 * split_resolution(data)
  if cell.n == 0 or cell.bounds[0] - doubt > floor:
    return []
  text = (
    f"T-MIA of the original models is {value(cell)}, not clearly above one half and the retrained "
    f"models ({value(reference)}): before any unlearning the attack cannot tell forgotten samples "
    "from unseen ones. MIA and Indisc therefore cannot separate methods here; train longer, or on "
    "fewer samples, until the original models memorise."
  )
  return [Caution("severe", "no_signal", "", "The original models show no membership signal", text)]


def _reference(data: ReportData, summary: Summary) -> list[Caution]:
  cell = summary.cell("retrained", "T_MIA")
  if not cell.has_interval or cell.low <= 0.5 <= cell.high:
    return []
  noise = split_resolution(data)
  text = (
    f"T-MIA of the retrained models is {value(cell)}, an interval that does not contain one half, "
    "although these models never saw the forget set. "
  )
  explained = within_resolution(data, summary)
  if explained:
    text += (
      "The interval shows the spread over seeds, which share one split; sets of this size add "
      f"about ±{number(2 * noise)} on their own, and the value lies within that. "
    )
  elif math.isfinite(noise):
    text += (
      f"The size of the sets explains about ±{number(2 * noise)}; the rest means that forget and "
      "test samples differ by more than membership. "
    )
  if summary.cell("retrained", "T_AUC").n:
    text += f"The area under the ROC curve is {value(summary.cell('retrained', 'T_AUC'))}. "
  text += "Compare a method's MIA with the retrained models' MIA, and read Indisc with that offset."
  title = "The retrained models are not at one half"
  return [Caution("note" if explained else "caution", "biased_reference", "", title, text)]


def within_resolution(data: ReportData, summary: Summary) -> bool:
  """Tell whether the size of the sets alone explains the retrained models' distance from 0.5."""
  return abs(summary.cell("retrained", "T_MIA").mean - 0.5) <= 2 * split_resolution(data)


def _seeds(data: ReportData) -> list[Caution]:
  count = len(data.seeds)
  if count >= FEW_SEEDS:
    return []
  rest = (
    "neither a spread nor an interval can be given; every difference may be chance."
    if count == 1
    else "bootstrap intervals of so few members are too narrow; read them as a range."
  )
  text = f"This run has {plural(count, 'seed')}: {rest}"
  return [Caution("note", "few_seeds", "", "Few seeds", text)]


def _non_finite(data: ReportData, summary: Summary, method: str) -> list[Caution]:
  failed = summary.failed.get(method, 0)
  if not failed:
    return []
  rows = data.rows[(data.rows["method"] == method) & ~data.rows["finite"].astype(bool)]
  where = "; ".join(
    f"seed {row.seed}: {row.failed_steps}" if row.failed_steps else f"seed {row.seed}"
    for row in rows.sort_values("seed").itertuples()
  )
  total = summary.members[method]
  text = f"{failed} of {plural(total, 'member')} became NaN or infinite and stopped ({where}). "
  text += (
    "Nothing is left to measure."
    if failed == total
    else "Means and intervals cover the remaining members only, so they flatter this method."
  )
  level = "severe" if failed == total else "caution"
  title = f"{mark(method).label}: {plural(failed, 'non-finite member')}"
  return [Caution(level, "non_finite", method, title, text)]


def _collapsed(data: ReportData, summary: Summary, method: str) -> list[Caution]:
  accuracy, ratio = summary.cell(method, "TA"), summary.cell(method, "TR")
  if not useless(accuracy.mean, math.nan if method in REFERENCES else ratio.mean, data.chance):
    return []
  text = f"Test accuracy is {value(accuracy)}"
  if math.isfinite(ratio.mean) and method not in REFERENCES:
    text += f", {factor(ratio.mean)} times that of the retrained models"
  if math.isfinite(data.chance):
    text += f"; guessing gives {number(data.chance)}"
  text += ". A useless model has nothing left to attack: an MIA near one half is no success here."
  if method in REFERENCES:
    title = f"{mark(method).label}: the models have not learned"
    text = text.split(". A useless")[0] + ". Nothing below can be compared with such a reference."
  else:
    title = f"{mark(method).label} destroyed the model"
  return [Caution("severe", "collapse", method, title, text)]


def useless(accuracy: float, ratio: float, chance: float) -> bool:
  """Tell whether a model lost more than half of what retraining reaches, or merely guesses."""
  return ratio < MIN_RETENTION or accuracy <= min(chance + 0.05, 1.5 * chance)


def _over_unlearned(summary: Summary, method: str) -> list[Caution]:
  cell, reference = summary.cell(method, "T_MIA"), summary.cell("retrained", "T_MIA")
  limit = min(OVER_UNLEARNED, reference.bounds[0]) if reference.n else OVER_UNLEARNED
  if not cell.bounds[1] < limit:
    return []
  text = (
    f"T-MIA is {value(cell)}, clearly below one half: the loss on forgotten samples is higher than "
    "on samples never seen. An attacker who turns the decision round recognises them (the "
    "Streisand effect). Indisc counts this like an attack above one half."
  )
  title = f"{mark(method).label} over-unlearned"
  return [Caution("caution", "over_unlearned", method, title, text)]


def _hidden(summary: Summary, method: str) -> list[Caution]:
  attack, gap = summary.cell(method, "T_MIA"), summary.cell(method, FORGET_GAP)
  low, high = attack.bounds
  at_half = min(low, attack.mean - 0.01) <= 0.5 <= max(high, attack.mean + 0.01)
  if not (at_half and gap.mean > HIDDEN_GAP and gap.bounds[0] > 0):
    return []
  text = (
    f"T-MIA is {value(attack)}, at one half, yet forget accuracy stays {number(gap.mean)} "
    "above the retrained models of the same seeds. The attack looks at one loss threshold and is "
    "blind to what remains; do not read Indisc as evidence of forgetting."
  )
  title = f"{mark(method).label} hides the signal"
  return [Caution("caution", "hidden_signal", method, title, text)]


def _validation(data: ReportData, method: str) -> list[Caution]:
  if "val" not in data.needs(method):
    return []
  text = (
    "VA and V-MIA of this method are not measured on unseen samples and say little. TA, T-MIA and "
    "everything derived from them are unaffected."
  )
  title = f"{mark(method).label} uses validation data"
  return [Caution("note", "uses_validation", method, title, text)]
