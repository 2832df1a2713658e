"""The report in one paragraph, computed from the numbers."""

import math

from jaxmu.report.cautions import Caution, destroyed, within_resolution
from jaxmu.report.data import ReportData
from jaxmu.report.marks import mark
from jaxmu.report.summary import Summary, best, retraining_floor
from jaxmu.report.text import interval, listing, number, value

_TITLES = {
  "RetDev": "Closest to retraining in accuracy",
  "Indisc": "Nearest to an attack at one half",
}
_TROUBLES = {  # of one method, of several
  "collapse": ("destroyed the model", "destroyed the model"),
  "over_unlearned": ("over-unlearned", "over-unlearned"),
  "hidden_signal": ("hides the signal from this attack", "hide the signal from this attack"),
  "non_finite": ("had non-finite members", "had non-finite members"),
}


def write(data: ReportData, summary: Summary, cautions: list[Caution]) -> list[str]:
  """Return sentences: does the benchmark separate, what retraining changes, who comes closest."""
  codes = {caution.code for caution in cautions}
  sentences = [
    _signal(data, summary, codes),
    _accuracy(data, summary),
    *_winners(data, summary, cautions),
    _remaining(summary, destroyed(cautions)),
    _troubled(cautions),
  ]
  return [sentence for sentence in sentences if sentence]


def _signal(data: ReportData, summary: Summary, codes: set[str]) -> str:
  original, retrained = (summary.cell(name, "T_MIA") for name in ("original", "retrained"))
  if original.n == 0 or retrained.n == 0:
    return "The reference models are missing, so nothing can be said about membership."
  text = (
    f"Membership signal (T-MIA, chance 0.5): original {value(original)}, "
    f"retrained {value(retrained)}. "
  )
  if "no_signal" in codes:
    return text + "There was no signal to remove, so MIA cannot separate the methods."
  if "biased_reference" in codes:
    sized = ""
    if within_resolution(data, summary):
      sized = ", though it is as near as sets of this size can resolve"
    return text + (
      f"The original models memorise; the retrained interval does not contain one half{sized}. "
      "Read every MIA against the retrained one."
    )
  text += "The original models memorise and retraining forgets, as it must."
  return text if original.has_interval else text + " One seed gives no interval, so this is a hint."


def _accuracy(data: ReportData, summary: Summary) -> str:
  forget = [summary.cell(name, "FA").mean for name in ("original", "retrained")]
  test = [summary.cell(name, data.test_metric).mean for name in ("original", "retrained")]
  if not all(map(math.isfinite, forget + test)):
    return ""
  clean = " (clean labels)" if data.test_metric == "TA_clean" else ""
  return (
    f"Forget accuracy is {number(forget[0])} before and {number(forget[1])} after retraining; "
    f"test accuracy{clean} {number(test[0])} and {number(test[1])}."
  )


def _winners(data: ReportData, summary: Summary, cautions: list[Caution]) -> list[str]:
  eligible = set(summary.methods) - destroyed(cautions)
  found = []
  for metric, title in _TITLES.items():
    names = best(summary, metric, eligible)
    if not names:
      continue
    cell = summary.cell(names[0], metric)
    text = f"{title}: {mark(names[0]).label} ({metric} {value(cell)})"
    if len(names) > 1:
      others = listing(mark(name).label for name in names[1:])
      text += f", not separable from {others} (intervals overlap)"
    found.append(text + _floor(data, metric) + ".")
  return found


def _floor(data: ReportData, metric: str) -> str:
  floor = retraining_floor(data.rows) if metric == "RetDev" else math.nan
  words = "; two retrained models of different seeds differ by"
  return f"{words} {number(floor)}" if math.isfinite(floor) else ""


def _remaining(summary: Summary, excluded: frozenset[str]) -> str:
  reference = summary.cell("retrained", "T_MIA")
  leaking = [
    f"{mark(name).label} {interval(summary.cell(name, 'T_MIA'))}"
    for name in summary.methods
    if name not in excluded
    and summary.cell(name, "T_MIA").has_interval
    and summary.cell(name, "T_MIA").low > max(0.5, reference.bounds[1])
  ]
  return f"Signal remains after {listing(leaking)}." if leaking else ""


def _troubled(cautions: list[Caution]) -> str:
  parts = []
  for code, phrase in _TROUBLES.items():
    names = [mark(c.method).label for c in cautions if c.code == code and c.method]
    if names:
      parts.append(f"{listing(names)} {phrase[len(names) > 1]}")
  return f"Warnings: {'; '.join(parts)}." if parts else ""
