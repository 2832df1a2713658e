"""The tables of a benchmark: every stage attacked and measured, methods beside each other."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxmu import data
from jaxmu.audit import breakdown, comparison, distances, evaluation, metrics, variance
from jaxmu.audit.draws import ROUND as OF_ROUND
from jaxmu.audit.influence import Influence
from jaxmu.settings.choices import CLASSES, GROUPS
from jaxmu.store.groups import At, added
from jaxmu.studies.benchmark.cases import Case, cases, rounds, stage_name
from jaxmu.studies.scores import facts_for
from jaxmu.studies.study import Finished
from jaxmu.unlearning import ANCHORS

REPEATS = ".repeats"  # of a method, by other random numbers: the stage after its name


def write(finished: Finished, say: Callable[[str], None]) -> None:
  """Attack and measure every stage, and write the tables.

  Where a request comes in rounds, `intervals` and `differences` are those of the last one, and
  `rounds` has the intervals of all.
  """
  del say
  run, record, settings = finished.run, finished.record, finished.settings
  found = cases(data.requests_for(settings, facts_for(settings, finished.dataset)))
  stages, numbers = {stage.name for stage in finished.stages}, rounds(found)
  made, of_rounds, spreads = Measured([], [], [], [], []), [], []
  for number in numbers:
    tables = _of_round(finished, found, number, made, spreads)
    of_rounds += [{OF_ROUND: number} | row for row in tables.intervals]
  run.write_rows(made.rows, metrics.ordered())
  run.write_table("intervals", tables.intervals)
  run.write_table("differences", tables.differences, ("method",))
  names = {name: _stages(name, found) for name in (*ANCHORS, *settings.methods)}
  curves = [
    row | {"stage": name}
    for name, own in names.items()
    for one in own
    for row in record.curves(one)
  ]
  run.write_table("curves", curves, ("seed",))
  run.write_table("classes", made.classes)
  run.write_table("roc", made.roc)
  if made.confusion:
    run.write_table("confusion", made.confusion)
  if len(numbers) > 1:
    run.write_table("rounds", of_rounds)
  if spreads:
    run.write_table("variance", spreads, ("method", "metric"))
  names |= {name: [name] for name in stages if name.endswith(REPEATS)}
  costs = {name: added(map(record.cost, own)) for name, own in names.items()}
  run.write_json("timings.json", costs)


class Measured(NamedTuple):
  """What the logits of a stage's members say: rows, influences, and what they break down into."""

  rows: list[dict]
  influences: list[Influence]
  classes: list[dict]
  roc: list[dict]
  confusion: list[dict]


def _of_round(
  finished: Finished, found: Sequence[Case], number: int, made: Measured, spreads: list[dict]
) -> comparison.Tables:
  """Measure all methods after a round, each beside the retrained model of that round."""
  record, settings = finished.record, finished.settings
  of = lambda name: _measure(finished, found, number, name)
  params = {name: _params(finished, found, number, name) for name in ANCHORS}
  retrained = of("retrained")
  groups = finished.dataset.groups if settings.scenario.forget == GROUPS else None
  compared = comparison.Comparison(retrained.rows, retrained.influences, groups)
  for name in (*ANCHORS, *settings.methods):
    one = retrained if name == "retrained" else of(name)
    own = params[name] if name in params else _params(finished, found, number, name)
    whole = metrics.derive(distances.add_distances(one.rows, own, **params), retrained.rows)
    compared.add(name, whole, one.influences)
    made.rows.extend(whole)
    made.classes.extend(one.classes)
    made.roc.extend(one.roc)
    made.confusion.extend(one.confusion)
    if settings.unlearning_seeds > 1 and name not in ANCHORS:
      rows_of = [row | {"repeat": 0} for row in one.rows] + record.rows(f"{name}{REPEATS}")
      spreads += variance.table(name, rows_of, one.influences)
  return compared.tables()


def _measure(finished: Finished, found: Sequence[Case], number: int, name: str) -> Measured:
  """Evaluate each member on its own split; failed ones have no breakdown."""
  record, dataset, made = finished.record, finished.dataset, Measured([], [], [], [], [])
  stage, where = _where(name, found, number)
  for case, known, logits in zip(
    found, record.members(stage, where), record.logits(stage, where), strict=True
  ):
    split, at = case.rounds[number - 1], case.of_round(number)
    one = evaluation.measure(
      logits[None],
      dataset.labels,
      dataset.original_labels,
      split,
      method=name,
      seeds=[case.seed],
      passes=known.passes,
      failed_steps=[known.failure],
    )
    made.rows.extend({"method": name, **at} | row for row in one.rows)
    made.influences.extend(one.influences)
    if not one.rows[0]["finite"]:
      continue
    lead, sets = {"method": name, **at}, {"forget": split.forget, "test": split.test}
    made.classes.extend(lead | row for row in breakdown.by_class(logits, dataset.labels, sets))
    if finished.settings.scenario.forget == CLASSES:
      confused = breakdown.confusion(logits, dataset.labels, {"test": split.test})
      gone = set(dataset.labels[split.forget].tolist())
      # Where each forget set has classes of its own, what others are taken for is another matter.
      several = any(other.draw for other in found)
      made.confusion.extend(lead | row for row in confused if not several or row["class"] in gone)
    sides = split.forget, split.unseen
    made.roc.extend(lead | row for row in breakdown.roc(logits, dataset.labels, *sides))
  return made


def _params(finished: Finished, found: Sequence[Case], number: int, name: str) -> Any:
  return finished.record.variables(*_where(name, found, number))["params"]


def _where(name: str, found: Sequence[Case], number: int) -> tuple[str, list[At]]:
  """Return the stage of a method's models after a round, and where they lie, case by case."""
  if name == "original":
    return name, [case.origin for case in found]
  stage = name if name in ANCHORS else stage_name(name, number, found)
  return stage, [case.of_round(number) for case in found]


def _stages(name: str, found: Sequence[Case]) -> list[str]:
  """Name the stages of a method, round by round."""
  if name in ANCHORS:
    return [name]
  return [stage_name(name, number, found) for number in rounds(found)]
