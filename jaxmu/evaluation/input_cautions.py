"""What looks wrong in what was given: swapped or shared sets, models given twice, too few samples.

Warnings of the benchmark trust that sets and models are what they are called. A caller's own may
not be, and attacks on swapped sets give numbers that look like success.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from jaxmu.audit import influence, intervals, power
from jaxmu.audit.attacks.crossed import Interval
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.audit.own_logits import LABELS
from jaxmu.audit.rules import Caution
from jaxmu.audit.text import number, plural
from jaxmu.data.overlap import Shared
from jaxmu.evaluation.inputs import Given

SURE = 0.999  # level of intervals by which an input is called wrong
COARSE, WEAK = 0.55, 0.6  # what the strongest attack must at least be able to see: to be worth much
DIFFERENT = 0.1  # of the labels of two sets, in total variation
APART = 0.05  # in retain accuracy, of models that were trained alike but for the forget set


def find(given: Given, shared: Sequence[Shared]) -> list[Caution]:
  """List what looks wrong; `shared` are the samples that two sets share."""
  known = _Known(given)
  wrong = [
    *map(_shared, shared),
    *_same_models(given),
    *(_swapped_sets(known) or _swapped_models(known)),
    *_leaked(known),
  ]
  return [
    *wrong,
    *_not_memorised(known),
    *([] if any(c.level == "severe" for c in wrong) else _other_training(given)),
    *_other_labels(given),
    *_few_samples(given),
    *_no_retrained(given),
  ]


class _Known:
  """How well models know samples of a set: by their losses, beside those of another set."""

  def __init__(self, given: Given):
    self.given = given
    self._losses = {
      name: cross_entropy(array, given.labels) for name, array in given.logits.items()
    }

  def has(self, *names: str) -> bool:
    return all(name in self._losses for name in names)

  def better(self, model: str, one: str, other: str) -> Interval:
    """Return the chance that a loss of `one` lies below one of `other`; 0.5 is no difference."""
    return _over_samples(*self._areas(model, one, other))

  def more(self, model: str, than: str) -> Interval:
    """Return by how much the AUC of forget against unseen samples is larger for a model."""
    pairs = zip(self._areas(model, "forget", "unseen"), self._areas(than, "forget", "unseen"))
    return _over_samples(*(one - other for one, other in pairs))

  def _areas(self, model: str, one: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    values, moved = [], []
    for k in range(self.given.seeds):
      sets = self.given.of_seed(k)
      losses = self._losses[model][k % len(self._losses[model])]
      sides = sets[other], sets[one]
      values.append(_area(losses[sides[0]], losses[sides[1]]))
      moved.append(influence.of_auc(losses, sides))
    return np.array(values), np.stack(moved)


def _over_samples(values: np.ndarray, moved: np.ndarray) -> Interval:
  """Return the mean with its interval for other samples: these models are asked about."""
  return intervals.two_way(np.full(len(values), values.mean()), moved, level=SURE)


def _area(unseen: np.ndarray, forget: np.ndarray) -> float:
  ranks = stats.rankdata(np.concatenate([unseen, forget]))[len(unseen) :].sum()
  n, m = len(forget), len(unseen)
  return float(1 - (ranks - n * (n + 1) / 2) / (n * m))


def _shared(found: Shared) -> Caution:
  names = {found.one, found.other}
  if found.few:
    text = f"{found}: few enough to be images that the data hold twice. Take them out of one set."
    return Caution("note", "twins", "", "Two sets share a few samples", text)
  if names == {"retain", "forget"}:
    title = "Forgotten samples are among the retained ones"
    rest = "What is retained is not forgotten: take them out of the retain set and unlearn again."
  elif "unseen" in names and names & {"retain", "forget"}:
    title = "Unseen samples were trained on"
    rest = (
      "Attacks compare with samples that no model ever saw; against these they find nothing where "
      "there is much. Use others."
    )
  else:
    title, rest = "Two sets share samples", "Take the shared ones out of one of them."
  return Caution("severe", "shared_samples", "", title, f"{found}. {rest}")


def _same_models(given: Given) -> list[Caution]:
  """Warn of models that are equal in every logit, or in those of the forget set."""
  found = []
  if _equal(given, "unlearned", "original"):
    text = (
      "Its logits equal those of the original model, on all samples and in all seeds: nothing was "
      "unlearned, or one file was given twice."
    )
    found.append(Caution("caution", "unchanged", "unlearned", f"{_CHANGED} changed nothing", text))
  elif _equal(given, "unlearned", "original", "forget"):
    text = (
      "On the forget set its logits equal those of the original model, elsewhere they do not: what "
      "should be forgotten is what stayed."
    )
    title = f"{_CHANGED} left the forget set alone"
    found.append(Caution("caution", "unchanged", "unlearned", title, text))
  for other in ("original", "unlearned"):
    if "retrained" in given.logits and _equal(given, "retrained", other):
      text = (
        f"The logits of the retrained model equal those of the {other} one. One file was given "
        "twice: there is nothing to compare with."
      )
      title = "The retrained model is no other model"
      found.append(Caution("severe", "same_models", "", title, text))
  return found


_CHANGED = LABELS["unlearned"]


def _equal(given: Given, one: str, other: str, only: str = "") -> bool:
  first, second = given.logits[one], given.logits[other]
  return all(
    np.array_equal(
      *(
        each[k % len(each)][given.of_seed(k)[only] if only else slice(None)]
        for each in (first, second)
      )
    )
    for k in range(given.seeds)
  )


def _swapped_sets(known: _Known) -> list[Caution]:
  """Warn where a model knows a set better that it should know less."""
  rules = (  # model, a set that it was trained on, one that it was not
    ("original", "forget", "unseen"),
    ("original", "retain", "unseen"),
    ("retrained", "retain", "forget"),
  )
  for model, seen, other in rules:
    if not known.has(model):
      continue
    found = known.better(model, seen, other)
    if found.high < 0.5:
      text = (
        f"The {model} model knows {other} samples better than {seen} samples: a loss on the latter "
        f"is the smaller one with a chance of {_words(found)}, where trained samples have 0.5 or "
        "more. Are the sets, or their labels, in each other's place?"
      )
      title = f"{seen.capitalize()} and {other} samples look swapped"
      return [Caution("severe", "swapped", "", title, text)]
  return []


def _swapped_models(known: _Known) -> list[Caution]:
  found = known.more("unlearned", "original")
  if not found.low > 0:
    return []
  text = (
    "The unlearned model knows forgotten samples better, beside unseen ones, than the original "
    f"does: its AUC is larger by {_words(found)}. Are original and unlearned in each other's place?"
  )
  title = "Original and unlearned models may be swapped"
  return [Caution("caution", "swapped_models", "", title, text)]


def _leaked(known: _Known) -> list[Caution]:
  """Warn where retrained models take unseen samples, and not the forgotten ones, for trained on."""
  if not known.has("retrained"):
    return []
  beside_forget = known.better("retrained", "unseen", "forget")
  memorised = known.better("retrained", "retain", "forget")
  beside_retain = known.better("retrained", "retain", "unseen")
  if not (beside_forget.low > 0.5 and memorised.low > 0.5 and not beside_retain.low > 0.5):
    return []
  text = (
    f"The retrained model, which never saw the forget set, knows unseen samples better than "
    f"forgotten ones (AUC {_words(beside_forget)}) and about as well as retained ones "
    f"({_words(beside_retain)}). Were they trained on? Attacks compare with samples that no model "
    "ever saw."
  )
  return [Caution("severe", "leaked", "", "Unseen samples look trained on", text)]


def _not_memorised(known: _Known) -> list[Caution]:
  """Warn where the original knows forgotten samples, not retained ones, better than unseen ones."""
  forget = known.better("original", "forget", "unseen")
  retain = known.better("original", "retain", "unseen")
  if not forget.low > 0.5 or retain.low > 0.5:
    return []
  text = (
    f"The original model knows forgotten samples better than unseen ones (AUC {_words(forget)}), "
    f"retained samples no better ({_words(retain)}). Are these the samples that it was trained on?"
  )
  title = "Retained samples do not look trained on"
  return [Caution("caution", "retain_unknown", "", title, text)]


def _other_training(given: Given) -> list[Caution]:
  """Warn where retrained models learned the retain set far better or worse than the originals."""
  if "retrained" not in given.logits:
    return []
  right = {
    name: np.stack([_right(given, name, k) for k in range(given.seeds)])
    for name in ("retrained", "original")
  }
  apart = (right["retrained"] - right["original"]).mean(0)  # of each place in the sets
  # A score test: the deviation is what it would be if both were right as often.
  doubt = stats.norm.isf((1 - SURE) / 2) * np.sqrt(np.mean(apart**2) / len(apart))
  if abs(apart.mean()) - doubt <= 0 or abs(apart.mean()) <= APART:
    return []
  shares = {name: number(float(each.mean())) for name, each in right.items()}
  text = (
    f"On the retain set, on which both were trained, the retrained models are right in "
    f"{shares['retrained']} and the originals in {shares['original']} of all cases. What was "
    "trained with another recipe differs by more than the forget set, and every distance from "
    "retraining holds that: train both alike, or give retrained models of your own."
  )
  return [Caution("caution", "other_training", "", "Retrained models were trained otherwise", text)]


def _right(given: Given, model: str, k: int) -> np.ndarray:
  """Return whether each retained sample is classified correctly, [n] of 0.0 and 1.0."""
  logits, index = given.logits[model], given.of_seed(k)["retain"]
  return 1.0 * (logits[k % len(logits)][index].argmax(-1) == given.labels[index])


def _other_labels(given: Given) -> list[Caution]:
  """Warn where forgotten and unseen samples are of other classes: they differ without any model."""
  sets = given.of_seed(0)
  counts = [
    np.bincount(given.labels[sets[name]], minlength=given.classes) for name in ("forget", "unseen")
  ]
  table = np.stack(counts)[:, sum(counts) > 0]
  shares = table / table.sum(1, keepdims=True)
  apart = np.abs(shares[0] - shares[1]).sum() / 2
  if table.shape[1] < 2 or apart <= DIFFERENT or stats.chi2_contingency(table).pvalue > 1 - SURE:
    return []
  text = (
    f"The labels of {100 * apart:.0f} % of the forgotten samples would have to be others for both "
    "sets to have the same classes. Attacks then tell classes apart, not what was trained on: "
    "compare with unseen samples of the same classes."
  )
  title = "Forgotten and unseen samples are of other classes"
  return [Caution("caution", "other_labels", "", title, text)]


def _few_samples(given: Given) -> list[Caution]:
  sizes = given.sizes
  least = power.visible("T_strongest", sizes["forget"], sizes["unseen"])
  if least <= COARSE:
    return []
  smaller = min(("forget", "unseen"), key=lambda name: sizes[name])
  text = (
    f"With {plural(sizes[smaller], f'{smaller} sample')} the strongest attack sees an accuracy of "
    f"{number(least)} and more; what lies between one half and that stays hidden. An attack that "
    "finds nothing shows no more than that."
  )
  level = "caution" if least > WEAK else "note"
  return [Caution(level, "few_samples", "", "Few samples", text)]


def _no_retrained(given: Given) -> list[Caution]:
  if "retrained" in given.logits:
    return []
  text = (
    "Nothing shows what these numbers are for a model that never saw the forget set. One half is "
    "its value only where forgotten and unseen samples are alike; its forget accuracy is unknown."
  )
  return [Caution("caution", "no_retrained", "", "No retrained model", text)]


def _words(found: Interval) -> str:
  return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
