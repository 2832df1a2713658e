"""A benchmark in one paragraph, computed from the numbers."""

import math
from collections.abc import Mapping, Sequence

from jaxmu.audit import rules
from jaxmu.audit.cautions import FEW_SEEDS, found_by, markable
from jaxmu.audit.results import Results
from jaxmu.audit.rules import Caution, destroyed
from jaxmu.audit.summary import Summary, best, retraining_floor, split_resolution
from jaxmu.audit.text import interval, listing, number, plural, value

_CLOSEST = "Closest to retraining in accuracy"
_HARDEST = "Hardest to recognise for the strongest attack"
_TROUBLES = {  # of one method, of several
  "collapse": "destroyed the model",
  "unchanged": "changed nothing",
  "over_unlearned": "over-unlearned",
  "attacks_disagree": (
    "looks forgotten to T-MIA and is recognised by another attack",
    "look forgotten to T-MIA and are recognised by another attack",
  ),
  "hidden_signal": ("hides the signal from these attacks", "hide the signal from these attacks"),
  "non_finite": "had non-finite members",
}


def write(data: Results, summary: Summary, cautions: Sequence[Caution]) -> list[str]:
  """Return sentences: does the benchmark separate, what retraining changes, who comes closest."""
  codes = {caution.code: caution.level for caution in cautions}
  sentences = [
    _signal(data, summary, codes),
    _accuracy(data, summary),
    *_winners(data, summary, cautions),
    _remaining(data, summary, destroyed(cautions)),
    rules.troubles(cautions, data.label, _TROUBLES),
  ]
  return [sentence for sentence in sentences if sentence]


def _signal(data: Results, summary: Summary, codes: Mapping[str, str]) -> str:
  original, retrained = (summary.cell(name, "T_MIA") for name in ("original", "retrained"))
  if original.n == 0 or retrained.n == 0:
    return "The reference models are missing, so nothing can be said about membership."
  text = (
    f"Membership signal (T-MIA, chance 0.5): original {value(original)}, "
    f"retrained {value(retrained)}"
  )
  strongest = [summary.cell(name, "T_strongest") for name in ("original", "retrained")]
  if all(cell.n for cell in strongest):
    text += f"; strongest attack {value(strongest[0])} and {value(strongest[1])}"
  text += ". "
  if data.deviation == "gap":
    known = [number(summary.cell(name, "FA").mean) for name in ("original", "retrained")]
    return text + (
      f"Retrained models know nothing of what was forgotten (forget accuracy {known[1]}), so that "
      f"is the signal here: {known[0]} before. Attacks look at what is left besides."
    )
  if "no_signal" in codes:
    return text + "There was no signal to remove, so MIA cannot separate the methods."
  if "biased_reference" in codes:
    sized = ""
    if codes["biased_reference"] == "note":
      sized = ", though it is as near as sets of this size can resolve"
    return text + (
      f"The original models memorise; the retrained interval does not contain one half{sized}. "
      "Read every MIA against the retrained one."
    )
  if original.n >= FEW_SEEDS:
    return text + "The original models memorise and retraining forgets, as it must."
  hint = f"{plural(original.n, 'seed')} {'is' if original.n == 1 else 'are'} a hint"
  return text + f"The original models memorise and retraining forgets; {hint}: others may differ."


def _accuracy(data: Results, summary: Summary) -> str:
  forget = [summary.cell(name, "FA").mean for name in ("original", "retrained")]
  test = [summary.cell(name, data.test_metric).mean for name in ("original", "retrained")]
  if not all(map(math.isfinite, forget + test)):
    return ""
  clean = " (clean labels)" if data.test_metric == "TA_clean" else ""
  return (
    f"Forget accuracy is {number(forget[0])} before and {number(forget[1])} after retraining; "
    f"test accuracy{clean} {number(test[0])} and {number(test[1])}."
  )


def _winners(data: Results, summary: Summary, cautions: Sequence[Caution]) -> list[str]:
  eligible = markable(data, summary, cautions)
  found = []
  for metric, title in ((data.deviation, _CLOSEST), ("T_strongest", _HARDEST)):
    names = best(summary, metric, eligible)
    if not names:
      continue
    cell = summary.cell(names[0], metric)
    shown = metric.replace("T_strongest", "accuracy")
    text = f"{title}: {data.label(names[0])} ({shown} {value(cell)})"
    if len(names) > 1:
      others = listing(data.label(name) for name in names[1:])
      text += f", not separable from {others} (paired differences hold 0)"
    found.append(text + _floor(data, metric) + ".")
  if found and len(eligible) < len(summary.methods):
    found[0] = f"Among the methods that no attack recognises: {found[0][0].lower()}{found[0][1:]}"
  if not eligible and summary.methods:
    found.append("No method is left that works and that no attack recognises.")
  return found


def _floor(data: Results, metric: str) -> str:
  if metric == "T_strongest":
    noise = math.nan if data.split_per_seed else 2 * split_resolution(data)
    return f"; the one split resolves ±{number(noise)}" if math.isfinite(noise) else ""
  floor = retraining_floor(data)
  words = "; two retrained models of different seeds differ by"
  return f"{words} {number(floor)}" if math.isfinite(floor) else ""


def _remaining(data: Results, summary: Summary, excluded: frozenset[str]) -> str:
  leaking = [
    f"{data.label(name)} {interval(summary.cell(name, metric))}"
    for name in summary.methods
    if name not in excluded
    for metric in [found_by(data, summary, name)]
    if metric
  ]
  if not leaking:
    return ""
  words = " (accuracy of the strongest attack, or of T-MIA where that finds more)"
  return f"Signal remains after {listing(leaking)}{words}."
