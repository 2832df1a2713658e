"""How a benchmark checks a method against retraining, and what its numbers do not prove."""

import math
from collections.abc import Sequence

from jaxmu.audit.cautions import found_by
from jaxmu.audit.decision import (
  Check,
  Criterion,
  Decision,
  Judgement,
  cheaper,
  choose,
)
from jaxmu.audit.results import Cell, Results
from jaxmu.audit.rules import INVALID, Caution, destroyed
from jaxmu.audit.summary import Summary, best, split_resolution
from jaxmu.audit.text import amount, factor, interval, number, plural, value
from jaxmu.settings import ReportSettings

# Cautions for which an attack that finds nothing does not count, as a note beside its accuracy.
_SUSPECT = {
  "attacks_disagree": "attacks disagree",
  "hidden_signal": "signal hidden",
  "over_unlearned": "over-unlearned",
}
LEAST = 3  # seeds from which the noise of retraining can be told at all
UNPROVEN = (
  "Not proven: that no single sample can be recognised (these attacks use one rule for all "
  "samples; a U-LiRA study looks at each), that other data or forget sets behave alike, or any "
  "bound in the sense of differential privacy."
)


def decide(
  data: Results, summary: Summary, cautions: Sequence[Caution], asked: ReportSettings
) -> Decision:
  """Check every method; nothing is recommended where the benchmark cannot tell methods apart."""
  test, criteria = data.test_metric, (*of_quality(data, summary, asked), cheaper(asked))
  judgements = tuple(
    Judgement(
      name,
      (*checks(data, summary, cautions, asked, name), _cheap(summary, asked, name)),
      summary.cell(name, "RTE_work").mean,
    )
    for name in summary.methods
  )
  leaders = lambda names: best(summary, data.deviation, names) or tuple(names)
  return Decision(
    criteria,
    judgements,
    choose(judgements, leaders),
    _void(data, summary, cautions, asked),
    lambda name: _proof(data, summary, name),
    lambda name: _price(summary, test, name),
    _retraining(data, summary),
    UNPROVEN,
  )


def checks(
  data: Results,
  summary: Summary,
  cautions: Sequence[Caution],
  asked: ReportSettings,
  method: str,
) -> tuple[Check, ...]:
  """Check a method by the criteria of `of_quality`, in their order."""
  test, noise = data.test_metric, _noise(data, summary)
  return (
    _works(summary, cautions, method),
    _attack(data, summary, cautions, asked, method),
    _test(summary, asked, noise[test], test, method),
    _forget(summary, asked, noise["FA"], method),
  )


def _noise(data: Results, summary: Summary) -> dict[str, float]:
  """Return by how much two retrained models differ, as seeds move them; NaN below three seeds."""
  cells = {key: summary.cell("retrained", key) for key in ("FA", data.test_metric)}
  return {k: math.sqrt(2) * c.sd if c.n >= LEAST else math.nan for k, c in cells.items()}


def of_quality(data: Results, summary: Summary, asked: ReportSettings) -> tuple[Criterion, ...]:
  """Say what is asked of a method's models, whatever they cost."""
  forget, test = (
    f"{number(v)} (what another seed moves)" if math.isfinite(v) else "what another seed moves"
    for v in _noise(data, summary).values()
  )
  attack = (
    f"no attack above {asked.max_attack:g} (upper end of the interval)"
    if asked.max_attack
    else "not recognised by any attack"
  )
  accuracy = (
    f"test accuracy at least {asked.min_test_accuracy:g}"
    if asked.min_test_accuracy
    else f"test accuracy below retraining by no more than {test}"
  )
  gap = (
    f"forget accuracy within {asked.max_forget_gap:g} of retraining"
    if asked.max_forget_gap
    else f"forget accuracy apart from retraining by no more than {forget}"
  )
  return (
    Criterion("Works", "models that work and were changed"),
    Criterion("Attack", attack),
    Criterion("Test accuracy", accuracy),
    Criterion("Forget accuracy", gap),
  )


def _void(
  data: Results, summary: Summary, cautions: Sequence[Caution], asked: ReportSettings
) -> str:
  codes = {caution.code for caution in cautions}
  wrong = [c.title for c in cautions if c.code in INVALID and c.level == "severe"]
  if wrong:
    return f"the inputs look wrong ({wrong[0]})"
  if (
    any(c.code == "few_samples" and c.level == "caution" for c in cautions) and not asked.max_attack
  ):
    return "with so few samples an attack that finds nothing shows nothing"
  if not all(summary.cell(name, "FA").n for name in ("original", "retrained")):
    return "the reference models are missing"
  if destroyed(cautions) & {"original", "retrained"}:
    return "the reference models have not learned"
  if "no_signal" in codes:
    return "the original models show no signal, so nothing shows that a method removes one"
  if len(data.seeds) < LEAST:
    return f"{plural(len(data.seeds), 'seed')} cannot show what seeds move; use three at least"
  return ""


def _works(summary: Summary, cautions: Sequence[Caution], method: str) -> Check:
  for code, words in (("collapse", "destroyed"), ("unchanged", "changed nothing")):
    if any(c.code == code and c.method == method for c in cautions):
      return Check(False, words)
  lost = summary.failed.get(method, 0)
  return Check(False, f"{lost} failed") if lost else Check(True, "yes")


def _attack(
  data: Results, summary: Summary, cautions: Sequence[Caution], asked: ReportSettings, method: str
) -> Check:
  column = "T_strongest" if summary.cell(method, "T_strongest").n else "T_MIA"
  found = found_by(data, summary, method)
  cell = summary.cell(method, found or column)
  if method in destroyed(cautions):  # nothing is left to attack
    return Check(None, number(cell.mean), interval(cell))
  note = ""
  if asked.max_attack:
    met: bool | None = cell.bounds[1] <= asked.max_attack if cell.n else None
  else:
    warned = [_SUSPECT[c.code] for c in cautions if c.method == method and c.code in _SUSPECT]
    met = not (found or warned) if cell.has_interval else None
    if warned and not found:
      note = warned[0]
    elif met and cell.above(0.5):
      note = "as retrained"
  return Check(met, number(cell.mean), interval(cell), note)


def _test(summary: Summary, asked: ReportSettings, noise: float, metric: str, method: str) -> Check:
  if asked.min_test_accuracy:
    cell = summary.cell(method, metric)
    return Check(cell.mean >= asked.min_test_accuracy if cell.n else None, number(cell.mean))
  gap = summary.difference(method, "retrained", metric)
  return _within(gap, gap.mean >= -noise, noise)


def _forget(summary: Summary, asked: ReportSettings, noise: float, method: str) -> Check:
  gap, most = summary.difference(method, "retrained", "FA"), asked.max_forget_gap or noise
  return _within(gap, abs(gap.mean) <= most, most)


def _within(gap: Cell, met: bool, noise: float) -> Check:
  known = gap.n > 0 and math.isfinite(noise)
  sign = "+" if gap.mean > 0 else ""
  return Check(bool(met) if known else None, f"{sign}{number(gap.mean)}", interval(gap))


def _cheap(summary: Summary, asked: ReportSettings, method: str) -> Check:
  cell = summary.cell(method, "RTE_work")
  return Check(cell.mean > asked.min_speedup if cell.n else None, f"{factor(cell.mean)} ×")


def _proof(data: Results, summary: Summary, method: str) -> str:
  attack = "T_strongest" if summary.has("T_strongest") else "T_MIA"
  gap = summary.difference(method, "retrained", attack)
  words = (
    f"the strongest attack is right on {value(summary.cell(method, attack))} of forgotten and "
    f"unseen samples, on retrained models {value(summary.cell('retrained', attack))}; paired "
    f"difference {value(gap)}, {plural(len(data.seeds), 'seed')}"
  )
  if forget := data.split_sizes.get("forget"):
    words += f", {forget:,} forgotten samples"
  noise = split_resolution(data)
  if math.isfinite(noise) and not data.split_per_seed:
    words += f" of one split, which resolves ±{number(2 * noise)}"
  return words


def _price(summary: Summary, metric: str, method: str) -> str:
  rate = factor(summary.cell(method, "RTE_work").mean)
  lost = value(summary.difference(method, "retrained", metric))
  return f"{rate} times less work; test accuracy beside retraining {lost}"


def _retraining(data: Results, summary: Summary) -> str:
  passes = summary.cell("retrained", "passes").mean
  return f"One model takes {amount(passes)} sample-passes{data.clock('retrained')}."
