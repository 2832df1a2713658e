"""Warnings of a benchmark: what would mislead a reader who looks only at the table."""

import math
from collections.abc import Sequence

from jaxmu.audit import rules
from jaxmu.audit.attack_words import attack_used
from jaxmu.audit.results import REFERENCES, Cell, Results
from jaxmu.audit.rules import Caution, Trained, destroyed
from jaxmu.audit.summary import Summary, recognised, split_resolution
from jaxmu.audit.text import number, plural, value

OVER_UNLEARNED = 0.45  # an interval entirely below is no attack at one half
HIDDEN_GAP = 0.03  # forget accuracy this far above retraining contradicts an MIA at one half
COARSE = 0.03  # an attack that one split resolves no finer than this
FEW_SEEDS = 5  # fewer members say little about their own spread
_REFERENCE_ATTACKS = {"T_MIA": "T-MIA", "T_strongest": "the strongest attack"}


def find(data: Results, summary: Summary) -> list[Caution]:
  """List the warnings, the gravest first, then the benchmark's, then in the tables' order."""
  found = [*_signal(data, summary), *_reference(data, summary), *_seeds(data), *_one_split(data)]
  for method in summary.order:
    found += _non_finite(data, summary, method)
    found += _collapsed(data, summary, method)
    if method not in REFERENCES:
      found += _unchanged(data, method)
      found += _over_unlearned(data, summary, method)
      found += _disagreement(data, summary, method) or _hidden(data, summary, method)
      found += _validation(data, method)
  return rules.gravest_first(found)


def markable(data: Results, summary: Summary, cautions: Sequence[Caution]) -> frozenset[str]:
  """Name the methods that may be called best: they work, and no attack recognises them."""
  hidden = {c.method for c in cautions if c.code in ("attacks_disagree", "unchanged")}
  leaking = {name for name in summary.methods if found_by(data, summary, name)}
  return frozenset(summary.methods) - destroyed(cautions) - hidden - leaking


def found_by(data: Results, summary: Summary, method: str) -> str:
  """Name the column whose attack recognises a method, the strongest first; "" where none does."""
  if recognised(summary, method):
    return "T_strongest"
  return "T_MIA" if shown_by_loss(data, summary, method) else ""


def _signal(data: Results, summary: Summary) -> list[Caution]:
  cell, reference = summary.cell("original", "T_MIA"), summary.cell("retrained", "T_MIA")
  if cell.n == 0 or found_by(data, summary, "original") or data.deviation == "gap":
    return []  # in the last case forget accuracy is the signal
  both = f"both one half and the retrained models' ({value(reference)})"
  known = both if reference.n else "one half"
  text = (
    f"T-MIA of the original models is {value(cell)}, not clearly above {known}, and "
    "neither is the strongest attack: before any unlearning forgotten samples cannot be told from "
    "unseen ones. MIA and Indisc therefore cannot separate methods here; train longer, or on fewer "
    "samples, until the original models memorise."
  )
  return [rules.no_signal(text)]


def shown_by_loss(data: Results, summary: Summary, method: str) -> bool:
  """Tell whether T-MIA finds a method's forget set: above one half and above retraining."""
  cell, gap = summary.cell(method, "T_MIA"), summary.difference(method, "retrained", "T_MIA")
  if not cell.has_interval:  # the size of the sets still says what can be resolved
    doubt = 2 * split_resolution(data) if split_resolution(data) > 0 else 0.0
    floor = summary.cell("retrained", "T_MIA").mean
    return cell.mean - doubt > max(0.5, floor if math.isfinite(floor) else 0.5)
  return cell.above(0.5) and (not gap.has_interval or gap.above(0))


def _reference(data: Results, summary: Summary) -> list[Caution]:
  cells = {name: summary.cell("retrained", key) for key, name in _REFERENCE_ATTACKS.items()}
  off = {name: cell for name, cell in cells.items() if cell.off(0.5)}
  if not off:
    return []
  noise = split_resolution(data)
  shown = " and ".join(f"{name} {value(cell)}" for name, cell in off.items())
  text = (
    f"The retrained models never saw the forget set, yet the interval does not contain one half: "
    f"{shown}. "
  )
  explained = all(abs(cell.mean - 0.5) <= 2 * noise for cell in off.values())
  if explained:
    text += f"Sets of this size resolve about ±{number(2 * noise)}, and that is not exceeded. "
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


def _seeds(data: Results) -> list[Caution]:
  rest = {
    True: ": intervals speak of other samples only, and another initialisation may give another "
    "order.",
    False: ": so few say little about other initialisations; read the intervals as a range.",
  }
  return rules.few(len(data.seeds), "seed", FEW_SEEDS, "The comparison", rest)


def _one_split(data: Results) -> list[Caution]:
  """Warn where one split is shared and so small that its luck rivals what is to be found."""
  noise = 2 * split_resolution(data)
  if data.split_per_seed or len(data.seeds) < 2 or not noise > COARSE:
    return []
  sizes = {"forget": data.split_sizes["forget"], "unseen": data.unseen}
  text = (
    f"All seeds share one split with {sizes['forget']:,} samples to forget and {sizes['unseen']:,} "
    f"to compare them with. An attack at one half scores within ±{number(noise)} of it by the luck "
    "of these samples alone, for every seed alike, so more seeds do not help. Use more data, or a "
    "split per seed (in a study, config.data.split_per_seed)."
  )
  return [Caution("note", "one_split", "", "One small split for all seeds", text)]


def _non_finite(data: Results, summary: Summary, method: str) -> list[Caution]:
  failed = summary.failed.get(method, 0)
  if not failed:
    return []
  every = data.every
  rows = every[(every["method"] == method) & ~every["finite"].astype(bool)].sort_values("seed")
  of = lambda row: f"seed {row.seed}" + (f", draw {row.draw}" if hasattr(row, "draw") else "")
  where = "; ".join(
    f"{of(row)}: {row.failed_steps}" if row.failed_steps else of(row) for row in rows.itertuples()
  )
  total = summary.members[method]
  text = f"{failed} of {plural(total, 'member')} became NaN or infinite and stopped ({where}). "
  text += (
    "Nothing is left to measure."
    if failed == total
    else "Means and intervals cover the remaining members only, so they flatter this method."
  )
  counts, label = (failed, total), data.label(method)
  return rules.failed(method, label, "non_finite", "non-finite", "member", counts, text)


def _collapsed(data: Results, summary: Summary, method: str) -> list[Caution]:
  reference = Cell() if method in REFERENCES else summary.cell(method, "TR")
  accuracies = {"Test accuracy": "TA", "Retain accuracy": "RA"}
  cells = {name: summary.cell(method, key) for name, key in accuracies.items()}
  trained = Trained(cells, reference.mean, None if method in REFERENCES else reference)
  return rules.collapsed(
    method,
    data.label(method),
    trained,
    data.chance,
    "A useless model has nothing left to attack: an MIA near one half is no success here.",
    "Nothing below can be compared with such a reference.",
  )


def _unchanged(data: Results, method: str) -> list[Caution]:
  """Warn where parameters are those of the original, bit for bit: nothing was unlearned."""
  if "l2_original" not in data.rows:
    return []
  rows = data.rows[(data.rows["method"] == method) & data.rows["finite"].astype(bool)]
  same = int((rows["l2_original"] == 0).sum())
  if not same:
    return []
  name, members = data.label(method), plural(len(rows), "member")
  if same < len(rows):
    text = (
      f"The parameters of {same} of {members} equal those of the original models. Means speak of "
      "models that unlearned and of models that did not."
    )
    return [Caution("note", "partly_unchanged", method, f"{name} left some models alone", text)]
  text = (
    f"The parameters of all {members} equal those of the original models, so nothing was unlearned "
    "and every number is the original models'. Check its hyper-parameters: rates, epochs, shares."
  )
  return [Caution("caution", "unchanged", method, f"{name} changed nothing", text)]


def _over_unlearned(data: Results, summary: Summary, method: str) -> list[Caution]:
  cell, reference = summary.cell(method, "T_MIA"), summary.cell("retrained", "T_MIA")
  limit = min(OVER_UNLEARNED, reference.bounds[0]) if reference.n else OVER_UNLEARNED
  if not cell.bounds[1] < limit:
    return []
  area = summary.cell(method, "T_AUC")
  if area.n and not area.below(0.5):
    text = (
      f"T-MIA is {value(cell)}, clearly below one half, yet losses on forgotten samples are not "
      f"higher than on unseen ones: the area under their ROC curve is {value(area)}. A few huge "
      "losses turn the fitted rule round. Read T-AUC and the strongest attack instead."
    )
    title = f"{data.label(method)}: T-MIA is turned round by a few huge losses"
    return [Caution("caution", "mia_misled", method, title, text)]
  text = (
    f"T-MIA is {value(cell)}, clearly below one half: the loss on forgotten samples is higher than "
    "on samples never seen. An attacker who turns the decision round recognises them (the "
    "Streisand effect). Indisc counts this like an attack above one half."
  )
  title = f"{data.label(method)} over-unlearned"
  return [Caution("caution", "over_unlearned", method, title, text)]


def _disagreement(data: Results, summary: Summary, method: str) -> list[Caution]:
  """Warn where another attack sees what T-MIA does not."""
  if shown_by_loss(data, summary, method):
    return []
  by_attack, (by_area, sure) = recognised(summary, method), _area_apart(summary, method)
  if not (by_attack or by_area):
    return []
  both = "both one half and the retrained models'"
  known = both if summary.cell("retrained", "T_MIA").n else "one half"
  text = f"T-MIA is {value(summary.cell(method, 'T_MIA'))}, not clearly above {known}. "
  if by_attack:
    text += (
      f"Yet the strongest attack, {attack_used(data.rows, method)}, is right on "
      f"{value(summary.cell(method, 'T_strongest'))} of the forgotten and unseen samples"
      + _beside(summary, "T_strongest")
      + ". "
    )
  if by_area:
    text += (
      f"The area under the ROC curve of the loss is {value(summary.cell(method, 'T_AUC'))}"
      + _beside(summary, "T_AUC")
      + ". "
    )
  if by_attack or sure:
    text += "Do not read MIA and Indisc as evidence of forgetting."
  else:
    text += "Too little to be sure of; T-AUC is the less noisy number of the two."
  name = data.label(method)
  if by_attack or sure:
    title = f"{name} hides from T-MIA, not from other attacks"
    return [Caution("caution", "attacks_disagree", method, title, text)]
  title = f"{name}: T-MIA and T-AUC disagree"
  return [Caution("note", "area_apart", method, title, text)]


def _area_apart(summary: Summary, method: str) -> tuple[bool, bool]:
  """Tell whether T-AUC is off one half or off retraining where T-MIA is not; off both is sure."""
  area, loss = summary.cell(method, "T_AUC"), summary.cell(method, "T_MIA")
  area_gap, loss_gap = (
    summary.difference(method, "retrained", metric) for metric in ("T_AUC", "T_MIA")
  )
  apart = (area.off(0.5) and not loss.off(0.5)) or (area_gap.off(0) and not loss_gap.off(0))
  return apart, area.off(0.5) and area_gap.off(0)


def _beside(summary: Summary, metric: str) -> str:
  """Name the values of the reference models, as far as there are any."""
  cells = {name: summary.cell(name, metric) for name in ("original", "retrained")}
  known = [f"{name} {number(cell.mean)}" for name, cell in cells.items() if cell.n]
  return f" ({', '.join(known)})" if known else ""


def _hidden(data: Results, summary: Summary, method: str) -> list[Caution]:
  attack, gap = summary.cell(method, "T_MIA"), summary.difference(method, "retrained", "FA")
  low, high = attack.bounds
  at_half = min(low, attack.mean - 0.01) <= 0.5 <= max(high, attack.mean + 0.01)
  if not (at_half and gap.mean > HIDDEN_GAP and gap.bounds[0] > 0):
    return []
  text = (
    f"T-MIA is {value(attack)}, at one half, yet forget accuracy stays {number(gap.mean)} "
    "above the retrained models of the same seeds. The attacks look at one rule for all samples "
    "and are blind to what remains; do not read Indisc as evidence of forgetting."
  )
  title = f"{data.label(method)} hides the signal"
  return [Caution("caution", "hidden_signal", method, title, text)]


def _validation(data: Results, method: str) -> list[Caution]:
  if "val" not in data.needs(method):
    return []
  text = (
    "VA and V-MIA of this method are not measured on unseen samples and say little. TA, T-MIA and "
    "everything derived from them are unaffected."
  )
  title = f"{data.label(method)} uses validation data"
  return [Caution("note", "uses_validation", method, title, text)]
