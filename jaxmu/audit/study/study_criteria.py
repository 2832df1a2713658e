"""How a U-LiRA study checks a method against retraining, and what its numbers do not prove."""

import math
from collections.abc import Mapping, Sequence

from jaxmu.audit.decision import (
  Check,
  Criterion,
  Decision,
  Judgement,
  cheaper,
  choose,
)
from jaxmu.audit.results import MODEL, Cell, StudyResults
from jaxmu.audit.rules import Caution, destroyed
from jaxmu.audit.study.judgement import has_signal, raised, unbiased
from jaxmu.audit.study.study_statistics import ACCURACY, AUC, HELD_OUT, TAILS
from jaxmu.audit.text import amount, factor, interval, number, plural, value
from jaxmu.settings import ReportSettings

UNPROVEN = (
  "Not proven: that a stronger attacker with more shadow models finds nothing, that other data or "
  "networks behave alike, or any upper bound in the sense of differential privacy (the bound given "
  "is a lower one)."
)


def decide(
  data: StudyResults,
  cautions: Sequence[Caution],
  asked: ReportSettings,
  passes: Mapping[str, float],
) -> Decision:
  """Check every method; `passes` is the work of a model by method, in sample-passes."""
  base = passes.get("retrained", math.nan)
  speed = {n: base / passes[n] if passes.get(n) else math.nan for n in data.unlearners}
  judgements = tuple(
    Judgement(
      name,
      (
        _works(data, cautions, name),
        _attack(data, cautions, asked, name),
        _held_out(data, asked, name),
        _retained(cautions, name),
        Check(
          speed[name] > asked.min_speedup if math.isfinite(speed[name]) else None,
          f"{factor(speed[name])} ×",
        ),
      ),
      speed[name],
    )
    for name in data.unlearners
  )
  least = lambda names: [n for n in names if _as_low(data, names[0], n)]  # sorted by exposure
  return Decision(
    _criteria(asked),
    judgements,
    choose(judgements, least),
    _void(data, cautions),
    lambda name: _proof(data, name),
    lambda name: _price(data, speed[name], name),
    f"One model takes {amount(base)} sample-passes{data.clock('retrained')}.",
    UNPROVEN,
  )


def _criteria(asked: ReportSettings) -> tuple[Criterion, ...]:
  attack = (
    f"no attack above {asked.max_attack:g} (upper end of the interval)"
    if asked.max_attack
    else "not recognised on average or in the tail"
  )
  accuracy = (
    f"held-out accuracy at least {asked.min_test_accuracy:g}"
    if asked.min_test_accuracy
    else "held-out accuracy not below the interval of retraining"
  )
  return (
    Criterion("Works", "models that work"),
    Criterion("Attack", attack),
    Criterion("Held-out accuracy", accuracy),
    Criterion("Others", "no more exposure of samples that stay"),
    cheaper(asked),
  )


def _void(data: StudyResults, cautions: Sequence[Caution]) -> str:
  if not data.cell("retrained", "accuracy").n:
    return "the retrained models are missing"
  if destroyed(cautions) & {"original", "retrained"}:
    return "the reference models have not learned"
  if not unbiased(data):
    return "the retrained models are not at one half, so something is wrong with this study"
  if not has_signal(data):
    return "the original models show no signal, so nothing shows that a method removes one"
  return ""


def _works(data: StudyResults, cautions: Sequence[Caution], method: str) -> Check:
  if method in destroyed(cautions):
    return Check(False, "destroyed")
  lost = data.failed(method)
  return Check(False, f"{lost} failed") if lost else Check(True, "yes")


def _attack(
  data: StudyResults, cautions: Sequence[Caution], asked: ReportSettings, method: str
) -> Check:
  cell = data.cell(method, ACCURACY.name)
  if method in destroyed(cautions):  # nothing is left to attack
    return Check(None, number(cell.mean), interval(cell))
  if asked.max_attack:
    met: bool | None = cell.bounds[1] <= asked.max_attack if cell.n else None
    return Check(met, number(cell.mean), interval(cell))
  signs = [one for one in (ACCURACY, AUC, *TAILS) if raised(data, method, one)]
  if signs and signs[0] is not ACCURACY:  # say where it is seen
    shown = data.cell(method, signs[0].name)
    return Check(False, f"{signs[0].label} {number(shown.mean, signs[0].digits)}", interval(shown))
  return Check(not signs if cell.has_interval else None, number(cell.mean), interval(cell))


def _held_out(data: StudyResults, asked: ReportSettings, method: str) -> Check:
  cell, reference = (data.cell(n, HELD_OUT.name, MODEL) for n in (method, "retrained"))
  low = asked.min_test_accuracy or reference.bounds[0]
  reached = cell.mean if asked.min_test_accuracy else cell.bounds[1]
  known = cell.n and math.isfinite(low)
  return Check(bool(reached >= low) if known else None, number(cell.mean), interval(cell))


def _retained(cautions: Sequence[Caution], method: str) -> Check:
  worse = any(
    c.code == "retain_risk" and c.level != "note" and c.method == method for c in cautions
  )
  return Check(not worse, "more exposed" if worse else "as before")


def _as_low(data: StudyResults, least: str, other: str) -> bool:
  """Tell whether a method's exposure cannot be told from that of the least exposed."""
  one, two = data.cell(least, ACCURACY.name), data.cell(other, ACCURACY.name)
  return two.bounds[0] <= one.bounds[1]


def _proof(data: StudyResults, method: str) -> str:
  cells: list[tuple[str, Cell]] = [
    (label, data.cell(name, ACCURACY.name))
    for label, name in (("its models", method), ("retrained models", "retrained"))
  ]
  shown = ", ".join(f"{label} {value(cell)}" for label, cell in cells)
  models = plural(int(data.study["models"]), "model")
  splits = plural(int(data.study["splits"]), "split")
  return f"accuracy of U-LiRA on {shown}; {models} of {splits}"


def _price(data: StudyResults, rate: float, method: str) -> str:
  cells = (data.cell(name, HELD_OUT.name, MODEL) for name in (method, "retrained"))
  mine, reference = map(value, cells)
  return f"{factor(rate)} times less work; held-out accuracy {mine}, retrained {reference}"
