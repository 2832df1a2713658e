"""The benchmark: per seed an original, a retrained model, and every method from the original."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxmu import data
from jaxmu.audit import breakdown, comparison, distances, evaluation, metrics, variance
from jaxmu.audit.attacks.population_mia import MINIMUM
from jaxmu.audit.influence import Influence
from jaxmu.data import requests
from jaxmu.errors import DataError, SettingsError
from jaxmu.report.benchmark import report
from jaxmu.settings import Settings
from jaxmu.settings.choices import GROUPS
from jaxmu.studies.study import Finished, Member, Outline, Stage, Stages, Study
from jaxmu.unlearning import ANCHORS, METHODS, get, hyperparameters

REPEATS = ".repeats"  # of a method, by other random numbers: the stage after its name
METRICS = frozenset({"metrics"})


def stages(outline: Outline) -> Stages:
  """Yield original, retrained and the methods, then their repeats; a seed has one split.

  Raises:
    DataError: the split leaves a set too small to be attacked.
  """
  settings = outline.settings
  splits = dict(zip(settings.seeds, data.splits_for(settings, outline.facts)))
  refuse_hidden(settings)
  yield from anchors(settings, splits)
  share, seed = settings.scenario.retain_share, settings.data.split_seed
  limited = {split: requests.limit(split, share, seed) for split in dict.fromkeys(splits.values())}
  splits = {s: limited[split] for s, split in splits.items()}
  for name in settings.methods:
    hp = hyperparameters(settings, name)
    members = tuple(
      Member({"seed": s}, split, hp, (s,), {"seed": s}) for s, split in splits.items()
    )
    yield Stage(name, get(name), members, "original")
  for name in settings.methods if settings.unlearning_seeds > 1 else ():
    hp = hyperparameters(settings, name)
    again = tuple(
      Member({"seed": s, "repeat": k}, split, hp, (s, k), {"seed": s})
      for s, split in splits.items()
      for k in range(1, settings.unlearning_seeds)
    )
    yield Stage(f"{name}{REPEATS}", get(name), again, "original", METRICS)


def anchors(settings: Settings, splits: Mapping[int, data.Split]) -> Stages:
  """Yield original and retrained models of every seed; any study of these members shares them.

  As in the reference, all seeds see one batch order; a method's members do not.

  Raises:
    DataError: the split leaves a set too small to be attacked.
  """
  check_attackable(next(iter(splits.values())).sizes)
  for name in ANCHORS:
    hp, order = hyperparameters(settings, name), settings.training.data_seed
    members = tuple(Member({"seed": s}, split, hp, (s,)) for s, split in splits.items())
    yield Stage(name, get(name), members, order_seed=order)


def refuse_hidden(settings: Settings) -> None:
  """Refuse, before anything is trained, methods that need what they may not read."""
  if settings.scenario.retain_share > 0:
    return
  blind = [name for name in settings.methods if "retain" in get(name).needs]
  able = ", ".join(name for name, method in METHODS.items() if "retain" not in method.needs)
  if blind:
    raise SettingsError(
      f"config.scenario.retain_share is 0, and {', '.join(blind)} cannot do without the retain "
      f"set; expected methods that can: {able or 'there is none'}"
    )


def check_attackable(sizes: dict[str, int]) -> None:
  """Refuse, before anything is trained, sets that are too small to be attacked afterwards."""
  for part in ("forget", "val", "test", "control"):
    if sizes.get(part, MINIMUM) < MINIMUM:
      raise DataError(
        f"the {part} set has {sizes[part]} samples, the attack needs at least {MINIMUM}; use more "
        "data, a larger config.data.val_fraction or forget_fraction, a longer config.data.forget, "
        "or a larger config.scenario.share"
      )


def tables(finished: Finished, say: Callable[[str], None]) -> None:
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


def about(outline: Outline) -> list[str]:
  """Say how large the sets are."""
  sizes = data.splits_for(outline.settings, outline.facts)[0].sizes
  times = outline.settings.unlearning_seeds
  repeated = f", unlearned {times} times each" if times > 1 else ""
  return [
    f"{len(outline.settings.seeds)} members a stage{repeated}; retain {sizes['retain']:,}, forget "
    f"{sizes['forget']:,}, validation {sizes['val']:,}, test {sizes['test']:,} images"
  ]


BENCHMARK = Study(stages, tables, report, about)
