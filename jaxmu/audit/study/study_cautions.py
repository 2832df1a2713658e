"""Warnings of a study: what would mislead a reader who looks only at the table."""

import math

from jaxmu.audit import rules
from jaxmu.audit.results import MODEL, REFERENCES, RETAINED, StudyResults
from jaxmu.audit.rules import Caution, Trained
from jaxmu.audit.study.judgement import direction, has_signal, over_forgotten, unbiased
from jaxmu.audit.study.study_statistics import ACCURACY, HELD_OUT, METRICS, NET
from jaxmu.audit.text import MISSING, listing, number, plural, value

FEW_SPLITS = 8  # intervals over fewer are rough
FEW_MODELS = 16  # positive models per sample below which own variances are noise, spec 9.6
DAMAGED = 0.9  # held-out accuracy below this share of retraining's is worth a word
_FAIR = tuple(m for m in METRICS if m.chance == 0.5 and m is not ACCURACY)


def find(data: StudyResults) -> list[Caution]:
  """List the warnings, the gravest first, then the study's, then in the tables' order."""
  found = [*_reference(data), *_signal(data), *_second_opinions(data), *_design(data)]
  for method in data.order:
    found += _failed(data, method)
    found += _collapsed(data, method)
    if method not in REFERENCES:
      found += _over_forgotten(data, method)
      found += _retain_risk(data, method)
  return rules.gravest_first(found)


def _reference(data: StudyResults) -> list[Caution]:
  cell = data.cell("retrained", "accuracy")
  if cell.n == 0:
    text = (
      "No attack on retrained models is stored. Without them nothing shows that this attack finds "
      "one half where there is nothing to find, and a method has nothing to be compared with."
    )
    return [Caution("severe", "no_reference", "", "The retrained models are missing", text)]
  if unbiased(data):
    return []
  text = (
    f"U-LiRA's accuracy on the retrained models is {value(cell)}, an interval that does not "
    "contain one half. To these models, samples to forget and samples never seen are the same: "
    "whatever the attack finds is an error of the study, such as sets that differ by more than "
    "membership, fits that saw the attacked model, or failed models. Every other number carries "
    "the same error. A correct study lands here about once in twenty by chance; repeat it with "
    "other splits before believing any of it."
  )
  title = "The retrained models are not at one half: do not trust this study"
  return [Caution("severe", "biased_reference", "", title, text)]


def _signal(data: StudyResults) -> list[Caution]:
  cell = data.cell("original", "accuracy")
  if cell.n == 0 or has_signal(data):
    return []
  text = (
    f"U-LiRA's accuracy on the original models is {value(cell)}, not clearly above one half and "
    f"the retrained models ({value(data.cell('retrained', 'accuracy'))}): before any unlearning "
    "the attack cannot tell the samples to forget from unseen ones, so it cannot tell a method "
    "that forgets from one that does not. Train longer, on fewer samples, or use more splits."
  )
  return [rules.no_signal(text)]


def _second_opinions(data: StudyResults) -> list[Caution]:
  off = [one for one in _FAIR if not unbiased(data, one)]
  if not off:
    return []
  shown = [f"{m.label} {value(data.cell('retrained', m.name), m.digits)}" for m in off]
  text = (
    f"The retrained models' interval does not contain one half in {listing(shown)}. With "
    f"{len(_FAIR)} such intervals one may miss by chance; compare a method's value with the "
    "retrained models' value there, not with one half."
  )
  return [Caution("note", "biased_statistics", "", "Retrained models off one half", text)]


def _design(data: StudyResults) -> list[Caution]:
  rest = {
    True: ", the unit that is resampled: no interval can be given.",
    False: ", the unit that is resampled: intervals are rough; read them as a range.",
  }
  found = rules.few(int(data.study["splits"]), "split", FEW_SPLITS, "This study", rest)
  attack = data.study.get("attack") or {}
  count = (data.study.get("forgotten_per_sample") or {}).get("mean", math.nan)
  if attack.get("variance") == "sample" and count < FEW_MODELS:
    text = (
      f"A sample was forgotten by {number(count, 1)} models on average, and the attack estimates a "
      "variance for each sample from them. Below 16 one variance for all samples finds more."
    )
    found.append(Caution("note", "own_variance", "", "Few models per sample", text))
  if attack.get("leave_out", "split") != "split":
    text = (
      f"Fits leave out: {attack['leave_out']}. Models of the attacked one's split share its "
      "training half; with them in the fit, noise is not at one half."
    )
    found.append(Caution("caution", "leave_out", "", "Fits that saw the attacked split", text))
  return found


def _failed(data: StudyResults, method: str) -> list[Caution]:
  failed, total = data.failed(method), data.models(method)
  if not failed:
    return []
  text = f"{failed:,} of {plural(total, 'model')} diverged and were left out of every number. "
  text += (
    "Nothing is left to attack."
    if failed >= total
    else "Models that survive may flatter the method."
  )
  counts, label = (failed, total), data.label(method)
  return rules.failed(method, label, "failed", "diverged", "model", counts, text)


def _collapsed(data: StudyResults, method: str) -> list[Caution]:
  accuracy = data.cell(method, HELD_OUT.name, MODEL)
  reference = data.cell("retrained", HELD_OUT.name, MODEL)
  usable = method not in REFERENCES and reference.mean > 0
  ratio = accuracy.mean / reference.mean if usable else math.nan
  beside = f" ({value(reference)})"
  found = rules.collapsed(
    method,
    data.label(method),
    Trained(
      {"Held-out accuracy": accuracy}, ratio, None if method in REFERENCES else reference, beside
    ),
    data.chance,
    "A useless model has nothing left to attack: an attack at one half is no success.",
    "Nothing here can be compared with such a reference.",
  )
  if found or not (ratio < DAMAGED and accuracy.bounds[1] < reference.bounds[0]):
    return found
  text = (
    f"Held-out accuracy is {value(accuracy)}{rules.times(ratio, beside)}"
    f"{rules.guessing(data.chance)}. What it forgets it pays for with models that generalise worse."
  )
  return [Caution("caution", "damage", method, f"{data.label(method)} costs accuracy", text)]


def _over_forgotten(data: StudyResults, method: str) -> list[Caution]:
  if not over_forgotten(data, method):
    return []
  found = direction(data, method)
  text = (
    f"U-LiRA's accuracy is {value(data.cell(method, 'accuracy'))}, above one half, although "
    "forgotten samples are not remembered: on average their confidence is "
    f"{number(abs(found.gap), 2)} lower (in log-odds) than in models that never saw them"
  )
  if math.isfinite(found.below):
    text += f", and {number(100 * found.below, 0)} % of the exposed samples are given away so"
  text += (
    ". The method pushed them further than forgetting needs. An attacker does not care for the "
    "direction: what is oddly unknown was in the forget set (the Streisand effect)."
  )
  return [Caution("caution", "over_forgotten", method, f"{data.label(method)} over-forgot", text)]


def _retain_risk(data: StudyResults, method: str) -> list[Caution]:
  net = data.cell(method, NET.name, RETAINED)
  if not (net.has_interval and net.low > 0):
    return []
  reference = data.cell("retrained", NET.name, RETAINED)
  beyond = not reference.n or net.low > reference.bounds[1]
  more, less = (data.cell(method, f"change_share_{s}", RETAINED) for s in ("more", "less"))
  text = (
    f"Of the samples that stay, {_percent(more.mean)} are attacked better after unlearning than "
    f"before and {_percent(less.mean)} worse: net {value(net)}, where chance moves as many up as "
    "down. "
  )
  if beyond:
    text += "People who did not ask for deletion pay for it with their privacy."
  else:
    text += f"Retraining does so too ({value(reference)}): smaller training sets expose more."
  level, title = "caution" if beyond else "note", f"{data.label(method)} exposes retained samples"
  return [Caution(level, "retain_risk", method, title, text)]


def _percent(share: float) -> str:
  return f"{number(100 * share, 1)} %" if math.isfinite(share) else MISSING
