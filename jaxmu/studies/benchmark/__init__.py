"""The benchmark: per seed an original, a retrained model, and every method from the original."""

from collections.abc import Iterable, Sequence

from jaxmu import data
from jaxmu.audit.attacks.population_mia import MINIMUM
from jaxmu.data import Split
from jaxmu.data.requests import classes
from jaxmu.data.rounds import limit
from jaxmu.data.splits import widths
from jaxmu.errors import DataError, SettingsError
from jaxmu.report.benchmark import report
from jaxmu.settings import Settings
from jaxmu.settings.choices import CLASSES, EACH
from jaxmu.studies.benchmark import benchmark_tables
from jaxmu.studies.benchmark.benchmark_tables import REPEATS
from jaxmu.studies.benchmark.cases import Case, cases, rounds, stage_name
from jaxmu.studies.given_models import applied
from jaxmu.studies.study import Member, Outline, Stage, Stages, Study
from jaxmu.unlearning import METHODS, chosen, hyperparameters

METRICS = frozenset({"metrics"})
_ATTACKED = {part: part for part in ("forget", "val", "test", "control")}
_ATTACKED["val_control"] = "validation control"


def stages(outline: Outline) -> Stages:
  """Yield original, retrained and the methods, then their repeats.

  Raises:
    DataError: the split leaves a set too small to be attacked.
  """
  settings = outline.settings
  found = cases(data.requests_for(settings, outline.facts))
  refuse_hidden(settings)
  yield from anchors(settings, found)
  share, seed = settings.scenario.retain_share, settings.data.split_seed
  every = {id(split): split for case in found for split in case.rounds}
  readable = {known: limit(split, share, seed) for known, split in every.items()}
  for name in settings.methods:
    hp, method = hyperparameters(settings, name), chosen(settings, name)
    wide = widths(readable.values(), method.needs)
    for number in rounds(found):
      members = tuple(
        Member(
          case.of_round(number),
          readable[id(case.rounds[number - 1])],
          hp,
          case.key,
          case.origin if number == 1 else case.of_round(number - 1),
        )
        for case in found
      )
      parent = "original" if number == 1 else stage_name(name, number - 1, found)
      stage = stage_name(name, number, found)
      yield Stage(stage, method, members, parent, widths=wide, frozen=number > 1)
  for name in settings.methods if settings.unlearning_seeds > 1 else ():
    hp = hyperparameters(settings, name)
    again = tuple(
      Member({**case.at, "repeat": k}, readable[id(split)], hp, (*case.key, k), case.origin)
      for case in found
      for split in case.rounds
      for k in range(1, settings.unlearning_seeds)
    )
    yield Stage(f"{name}{REPEATS}", chosen(settings, name), again, "original", METRICS)


def anchors(settings: Settings, found: Sequence[Case]) -> Stages:
  """Yield original and retrained models of every seed; any study of these members shares them.

  As in the reference, all seeds see one batch order; a method's members do not. Forget sets of the
  same training samples share an original, and every round has a retrained model, from the same
  initial weights.

  Raises:
    DataError: the split leaves a set too small to be attacked.
  """
  splits = {id(split): split for case in found for split in case.rounds}.values()
  check_attackable(splits)
  order = settings.training.data_seed
  of = lambda name: (chosen(settings, name), hyperparameters(settings, name))
  method, hp = of("original")
  firsts = [case for case in found if case.at == case.origin]
  members = tuple(Member(case.at, case.whole, hp, (case.seed,)) for case in firsts)
  wide = widths((case.whole for case in firsts), method.needs)
  yield applied(settings, Stage("original", method, members, order_seed=order, widths=wide))
  method, hp = of("retrained")
  again = tuple(
    Member(case.of_round(number), case.rounds[number - 1], hp, (case.seed,))
    for number in rounds(found)
    for case in found
  )
  wide = widths(splits, method.needs)
  yield applied(settings, Stage("retrained", method, again, order_seed=order, widths=wide))


def refuse_hidden(settings: Settings) -> None:
  """Refuse, before anything is trained, methods that need what they may not read."""
  if settings.scenario.retain_share > 0:
    return
  blind = [name for name in settings.methods if "retain" in chosen(settings, name).needs]
  able = ", ".join(name for name, method in METHODS.items() if "retain" not in method.needs)
  if blind:
    raise SettingsError(
      f"config.scenario.retain_share is 0, and {', '.join(blind)} cannot do without the retain "
      f"set; expected methods that can: {able or 'there is none'}"
    )


def check_attackable(splits: Iterable[Split]) -> None:
  """Refuse, before anything is trained, sets that are too small to be attacked afterwards."""
  every = [split.sizes for split in splits]
  for part, words in _ATTACKED.items():
    size = min(sizes.get(part, MINIMUM) for sizes in every)
    if size < MINIMUM:
      raise DataError(
        f"the {words} set has {size} samples, the attack needs at least {MINIMUM}; use more "
        "data, a larger config.data.val_fraction or forget_fraction, a longer config.data.forget, "
        "a larger config.scenario.share, or fewer config.scenario.rounds"
      )


def about(outline: Outline) -> list[str]:
  """Say how large the sets are, and whom a request names."""
  found = cases(data.requests_for(outline.settings, outline.facts))
  times, draws = outline.settings.unlearning_seeds, 1 + max(case.draw for case in found)
  words = [
    f"{len(found)} members a stage"
    + (f" ({len(outline.settings.seeds)} seeds x {draws} forget sets)" if draws > 1 else "")
    + (f", unlearned {times} times each" if times > 1 else "")
    + (f", in {len(rounds(found))} rounds" if len(rounds(found)) > 1 else ""),
    sizes_of([split for case in found for split in case.rounds]),
  ]
  return ["; ".join(words), *_named(outline)]


def _named(outline: Outline) -> list[str]:
  """Say which classes, or whose list, is forgotten."""
  asked, facts = outline.settings.scenario, outline.facts
  if outline.settings.data.forget:
    return [f"forgotten: the samples of {outline.settings.data.forget}"]
  if asked.forget != CLASSES or asked.classes == EACH:
    return []
  names = [facts.class_names[k] for k in classes(asked.classes, facts.class_names)]
  return [f"forgotten: classes {', '.join(names)}"]


def sizes_of(splits: Sequence[Split]) -> str:
  """Say how large the sets of all splits are."""
  names = {"retain": "retain", "forget": "forget", "val": "validation"}
  if splits[0].val_control is not None:
    names["val_control"] = "validation control"
  names["test"] = "test"
  of = lambda part: _span([len(getattr(split, part)) for split in splits])
  return ", ".join(f"{words} {of(part)}" for part, words in names.items()) + " images"


def _span(sizes: Sequence[int]) -> str:
  low, high = min(sizes), max(sizes)
  return f"{low:,}" if low == high else f"{low:,} to {high:,}"


BENCHMARK = Study(stages, benchmark_tables.write, report, about)
