"""The benchmark: per seed an original, a retrained model, and every method from the original."""

from collections.abc import Mapping

from jaxmu import data
from jaxmu.audit.attacks.population_mia import MINIMUM
from jaxmu.data import requests
from jaxmu.errors import DataError, SettingsError
from jaxmu.report.benchmark import report
from jaxmu.settings import Settings
from jaxmu.studies.benchmark import benchmark_tables
from jaxmu.studies.benchmark.benchmark_tables import REPEATS
from jaxmu.studies.study import Member, Outline, Stage, Stages, Study
from jaxmu.unlearning import ANCHORS, METHODS, get, hyperparameters

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


def about(outline: Outline) -> list[str]:
  """Say how large the sets are."""
  sizes = data.splits_for(outline.settings, outline.facts)[0].sizes
  times = outline.settings.unlearning_seeds
  repeated = f", unlearned {times} times each" if times > 1 else ""
  return [
    f"{len(outline.settings.seeds)} members a stage{repeated}; retain {sizes['retain']:,}, forget "
    f"{sizes['forget']:,}, validation {sizes['val']:,}, test {sizes['test']:,} images"
  ]


BENCHMARK = Study(stages, benchmark_tables.write, report, about)
