"""Which methods do what was asked for, which of them to take, and why not simply retrain.

A kind of study says how it checks a method (`criteria`, `study.study_criteria`); this says what
follows, in words for those who decide.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxmu.audit.text import factor, listing, plural
from jaxmu.settings import ReportSettings


class Criterion(NamedTuple):
  """What is asked: its name in a table, and as the end of a sentence."""

  name: str
  words: str


class Check(NamedTuple):
  """Whether a method does it (None: cannot be told), the number behind it, and what that hides."""

  met: bool | None
  words: str
  interval: str = ""
  note: str = ""


class Judgement(NamedTuple):
  """A method with its checks, in the order of the criteria; `speedup` is beside retraining."""

  method: str
  checks: tuple[Check, ...]
  speedup: float

  @property
  def accepted(self) -> bool:
    """Whether it does everything that was asked."""
    return all(check.met for check in self.checks)


class Decision(NamedTuple):
  """What a reader decides by.

  Attributes:
    criteria: what is asked of every method.
    judgements: the methods in the order of the tables.
    chosen: the accepted method to take; "" where there is none.
    void: why nothing can be decided; "" where it can.
    proof: of a method what an auditor can check, in a sentence.
    price: of a method what is lost beside retraining, in words.
    retraining: what retraining costs, in words.
    unproven: what these numbers do not prove.
  """

  criteria: tuple[Criterion, ...]
  judgements: tuple[Judgement, ...]
  chosen: str
  void: str
  proof: Callable[[str], str]
  price: Callable[[str], str]
  retraining: str
  unproven: str

  @property
  def accepted(self) -> tuple[str, ...]:
    """Name the methods that do everything that was asked."""
    return tuple(one.method for one in self.judgements if one.accepted)


def cheaper(asked: ReportSettings) -> Criterion:
  """Ask that a method costs less than retraining, by as much as a user wants."""
  rate = asked.min_speedup
  words = "cheaper than retraining" if rate == 1 else f"more than {rate:g} times cheaper than it"
  return Criterion("Cost", words)


def choose(
  judgements: Sequence[Judgement], leaders: Callable[[Sequence[str]], Sequence[str]]
) -> str:
  """Return the cheapest of the best accepted methods.

  Args:
    leaders: of some methods, those that cannot be told from the best of them.
  """
  accepted = {one.method: one.speedup for one in judgements if one.accepted}
  group = leaders(tuple(accepted)) if len(accepted) > 1 else tuple(accepted)
  return max(group, key=lambda name: accepted[name], default="")


def sentences(found: Decision, label: Callable[[str], str]) -> list[str]:
  """Say what to do, how an auditor checks it, why not to retrain, and what is not proven."""
  asked = f"Asked of a method: {listing(one.words for one in found.criteria)}."
  if found.void:
    return [f"No method can be recommended: {found.void}.", asked]
  lines = [_advice(found, label), asked]
  lines += [_refused(found, label)] if found.judgements else []
  if found.chosen:
    lines.append(f"To check it: {found.proof(found.chosen)}.")
  return [line for line in (*lines, _retrain(found, label), found.unproven) if line]


def _advice(found: Decision, label: Callable[[str], str]) -> str:
  total = plural(len(found.judgements), "method")
  if not found.judgements:
    return "Only reference models were trained: there is no method to decide about."
  if not found.chosen:
    return f"Retrain: none of {total} does what is asked."
  rate = next(one.speedup for one in found.judgements if one.method == found.chosen)
  others = [label(name) for name in found.accepted if name != found.chosen]
  words = (
    f"Take {label(found.chosen)}: by the checks below its models are as good as retrained ones, "
    f"for 1/{factor(rate)} of the work of retraining."
  )
  return words + (f" {listing(others)} would do, too." if others else "")


def _refused(found: Decision, label: Callable[[str], str]) -> str:
  """Name the methods by the first criterion that refuses them."""
  by: dict[str, list[str]] = {}
  for one in found.judgements:
    for criterion, check in zip(found.criteria, one.checks):
      if not check.met:
        by.setdefault(criterion.name, []).append(label(one.method))
        break
  if not by:
    return "Every method passes."
  parts = [f"{listing(names)} by “{name}”" for name, names in by.items()]
  return f"Refused, by the first check that is not met: {'; '.join(parts)}."


def _retrain(found: Decision, label: Callable[[str], str]) -> str:
  words = f"Why not simply retrain? {found.retraining}"
  if not found.chosen:
    return f"{words} Nothing here that is cheaper does what is asked."
  return f"{words} With {label(found.chosen)}: {found.price(found.chosen)}."
