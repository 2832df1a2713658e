"""Did it work? What is asked of an unlearned model, and whether the numbers can tell."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxmu.audit import criteria, power
from jaxmu.audit.decision import Check, Criterion
from jaxmu.audit.own_logits import UNLEARNED, Audit
from jaxmu.audit.rules import INVALID, Caution, destroyed
from jaxmu.audit.text import listing, number, plural
from jaxmu.errors import SettingsError, shown
from jaxmu.evaluation.input_cautions import WEAK
from jaxmu.settings import ReportSettings
from jaxmu.settings.entries import declared
from jaxmu.settings.ranges import Unfit, fit

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
THRESHOLDS = ("max_attack", "min_test_accuracy", "max_forget_gap")
_SIGNS = {True: "yes", False: "no", None: "cannot be told"}


class Verdict(NamedTuple):
  """Whether the unlearned model does what is asked.

  Attributes:
    outcome: "passed", "failed" or "undecided".
    criteria: what is asked.
    checks: whether it does (None: cannot be told) and the number behind it, by criterion.
    reasons: why it is not "passed", in words.
  """

  outcome: str
  criteria: tuple[Criterion, ...]
  checks: tuple[Check, ...]
  reasons: tuple[str, ...]

  def __str__(self) -> str:
    parts = (
      f"{one.words}: {_SIGNS[check.met]}"
      + (f" ({_number(check)})" if check.words not in ("", "yes") else "")
      for one, check in zip(self.criteria, self.checks)
    )
    why = f" {self.outcome.capitalize()}: {'; '.join(self.reasons)}." if self.reasons else ""
    return f"Verdict: {self.outcome}. Asked: {'; '.join(parts)}.{why}"


def thresholds(given: Mapping[str, Any]) -> ReportSettings:
  """Return what must be reached; None asks what a benchmark's report asks.

  Raises:
    SettingsError: a threshold is out of its range.
  """
  found = {}
  for field in declared(ReportSettings):
    value = given.get(field.name)
    if value is None or not field.entry:
      continue
    try:
      found[field.name] = fit(value, field.kind, field.entry.within)
    except Unfit as expected:
      raise SettingsError(f"{field.name} must be {expected}, got {shown(value)}") from None
  return ReportSettings(**found)


def judge(audit: Audit, cautions: Sequence[Caution], asked: ReportSettings) -> Verdict:
  """Check the unlearned model; undecided where inputs look wrong or samples, seeds, models lack."""
  args = audit.results, audit.summary
  found = dict(
    zip(criteria.of_quality(*args, asked), criteria.checks(*args, cautions, asked, UNLEARNED))
  )
  has_retrained = audit.summary.cell("retrained", "FA").n > 0
  if not has_retrained:
    own = {"Works", "Attack"} | ({"Test accuracy"} if asked.min_test_accuracy else set())
    found = {one: check for one, check in found.items() if one.name in own}
  weak = _weak(audit, asked)
  if weak:
    found = {
      one: check._replace(met=None) if one.name == "Attack" and check.met else check
      for one, check in found.items()
    }
  void = _void(cautions)
  failed = [one.name.lower() for one, check in found.items() if check.met is False]
  unknown = [one.name.lower() for one, check in found.items() if check.met is None]
  lacking = [
    *([_NO_SIGNAL] if any(c.code == "no_signal" for c in cautions) else []),
    *([] if has_retrained or asked.max_attack else [_NO_RETRAINED]),
    *([weak] if weak and "attack" in unknown else []),
    *([_few(audit, unknown)] if set(unknown) - {"attack"} else []),
    *([_NO_ATTACK] if "attack" in unknown and not weak else []),
  ]
  if void:
    outcome, reasons = UNDECIDED, void
  elif failed:
    outcome, reasons = FAILED, [f"not met: {listing(failed)}"]
  elif lacking:
    outcome, reasons = UNDECIDED, lacking
  else:
    outcome, reasons = PASSED, []
  return Verdict(outcome, tuple(found), tuple(found.values()), tuple(reasons))


_NO_SIGNAL = "the original model shows no signal, so nothing shows that one was removed"
_NO_ATTACK = "nothing is left to attack"
_NO_RETRAINED = (
  "without a retrained model nothing says what forgetting looks like: give one, or thresholds "
  "(max_attack, min_test_accuracy)"
)


def _void(cautions: Sequence[Caution]) -> list[str]:
  """Say why no number means what it is called."""
  found = [_lower(c.title) for c in cautions if c.code in INVALID and c.level == "severe"]
  lost = sorted(destroyed(cautions) & {"original", "retrained"})
  return found + ([f"the {listing(lost)} models have not learned"] if lost else [])


def _weak(audit: Audit, asked: ReportSettings) -> str:
  """Say that an attack which finds nothing shows nothing; "" where it does, or a bar is asked."""
  sizes = audit.results.split_sizes
  least = power.visible("T_strongest", sizes["forget"], sizes["test"])
  if asked.max_attack or least <= WEAK:
    return ""
  few = plural(min(sizes["forget"], sizes["test"]), "sample")
  return f"with {few} a side the strongest attack sees {number(least)} and more only"


def _few(audit: Audit, unknown: Sequence[str]) -> str:
  names = listing([name for name in unknown if name != "attack"])
  seeds = plural(len(audit.results.seeds), "seed")
  return (
    f"{seeds} cannot show what another seed moves in {names}: give three, or thresholds "
    "(min_test_accuracy, max_forget_gap)"
  )


def _lower(words: str) -> str:
  return words[:1].lower() + words[1:]


def _number(check: Check) -> str:
  value = f"{check.words} {check.interval}".strip()
  return f"{value}, {check.note}" if check.note else value
