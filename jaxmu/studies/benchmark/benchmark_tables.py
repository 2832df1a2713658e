"""The tables of a benchmark: every stage attacked and measured, methods beside each other."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxmu.audit import breakdown, comparison, distances, evaluation, metrics, variance
from jaxmu.audit.influence import Influence
from jaxmu.settings.choices import GROUPS
from jaxmu.studies.study import Finished
from jaxmu.unlearning import ANCHORS

REPEATS = ".repeats"  # of a method, by other random numbers: the stage after its name


def write(finished: Finished, say: Callable[[str], None]) -> None:
  """Attack and measure every stage, and write the tables."""
  del say
  run, record, stages = finished.run, finished.record, [s.name for s in finished.stages]
  names = [name for name in stages if not name.endswith(REPEATS)]
  params = {name: _params(finished, name) for name in ANCHORS}
  retrained = _measure(finished, "retrained")
  groups = finished.dataset.groups if finished.settings.scenario.forget == GROUPS else None
  compared = comparison.Comparison(retrained.rows, retrained.influences, groups)
  rows: list[dict] = []
  classes: list[dict] = []
  curves: list[dict] = []
  spreads: list[dict] = []
  for name in names:
    found = retrained if name == "retrained" else _measure(finished, name)
    own = params[name] if name in params else _params(finished, name)
    whole = metrics.derive(distances.add_distances(found.rows, own, **params), retrained.rows)
    compared.add(name, whole, found.influences)
    rows += whole
    classes += found.classes
    curves += found.roc
    if f"{name}{REPEATS}" in stages:
      rows_of = [row | {"repeat": 0} for row in found.rows] + record.rows(f"{name}{REPEATS}")
      spreads += variance.table(name, rows_of, found.influences)
  found_tables = compared.tables()
  run.write_rows(rows, metrics.columns())
  run.write_table("intervals", found_tables.intervals)
  run.write_table("differences", found_tables.differences, ("method",))
  run.write_table("curves", [row for name in names for row in record.curves(name)], ("seed",))
  run.write_table("classes", classes)
  run.write_table("roc", curves)
  if spreads:
    run.write_table("variance", spreads, ("method", "metric"))
  run.write_json("timings.json", {name: record.cost(name) for name in stages})


class Measured(NamedTuple):
  """What the logits of a stage's members say: rows, influences, and what they break down into."""

  rows: list[dict]
  influences: list[Influence]
  classes: list[dict]
  roc: list[dict]


def _measure(finished: Finished, name: str) -> Measured:
  """Evaluate each member of a stage on its own split; failed ones have no breakdown."""
  record, dataset = finished.record, finished.dataset
  found = Measured([], [], [], [])
  for member, known, logits in zip(
    finished.stage(name).members, record.members(name), record.logits(name)
  ):
    one = evaluation.measure(
      logits[None],
      dataset.labels,
      dataset.original_labels,
      member.sets,
      method=name,
      seeds=[member.at["seed"]],
      passes=known.passes,
      failed_steps=[known.failure],
    )
    found.rows.extend(one.rows)
    found.influences.extend(one.influences)
    if not one.rows[0]["finite"]:
      continue
    lead = {"method": name, "seed": member.at["seed"]}
    forget, unseen = member.sets.forget, member.sets.unseen
    sets = {"forget": forget, "test": member.sets.test}
    found.classes.extend(lead | row for row in breakdown.by_class(logits, dataset.labels, sets))
    found.roc.extend(lead | row for row in breakdown.roc(logits, dataset.labels, forget, unseen))
  return found


def _params(finished: Finished, name: str) -> Any:
  return finished.record.variables(name)["params"]
