"""Entries that are fine alone and wrong together."""

from collections.abc import Mapping
from typing import Any, Protocol

from jaxmu.errors import SettingsError, shown
from jaxmu.own_code import names
from jaxmu.settings.choices import (
  BENCHMARK,
  CLASSES,
  EACH,
  GROUPS,
  LISTED,
  RANDOM,
  RANKED,
  READS,
  REQUESTS,
  SEARCH,
  SHADOWED,
  ULIRA,
)
from jaxmu.settings.ranges import SEED
from jaxmu.settings.recipe_section import RecipeSettings
from jaxmu.settings.sections import DataSettings
from jaxmu.settings.study_sections import ScenarioSettings, SearchSettings


class Entries(Protocol):
  """The entries that are looked at together, of `Settings`."""

  @property
  def study(self) -> str: ...
  @property
  def dataset(self) -> str: ...
  @property
  def data(self) -> DataSettings: ...
  @property
  def seeds(self) -> tuple[int, ...]: ...
  @property
  def unlearning_seeds(self) -> int: ...
  @property
  def scenario(self) -> ScenarioSettings: ...
  @property
  def search(self) -> SearchSettings: ...
  @property
  def recipe(self) -> RecipeSettings: ...


def check(settings: Entries) -> None:
  """Raise SettingsError for the first combination that makes no sense."""
  _check_path(settings)
  _check_forget_list(settings)
  _check_one_seed(settings)
  _check_unlearning_seeds(settings)
  _check_scenario(settings)
  _check_split_seeds(settings)
  _check_fresh_seeds(settings)
  _check_recipe(settings)


def check_study_is_named(given: Mapping[str, Any]) -> None:
  """Raise SettingsError where a config has entries of a kind of study, and does not say which.

  Where it names the study they may stand there: other studies leave them unread.

  Args:
    given: the config as it was given, without defaults.
  """
  for study in (ULIRA, SEARCH):
    if given.get(study) and "study" not in given:
      entry = next(iter(given[study]))
      raise SettingsError(
        f"config.{study}.{entry} is given, but config.study is not, and a {BENCHMARK} does not "
        f"read it; say which study is meant: set --config.study={study}, or "
        f"--config.study={BENCHMARK}"
      )


def _check_path(settings: Entries) -> None:
  path, dataset = settings.data.path, settings.dataset
  if dataset == "npz" and not path:
    raise SettingsError(
      "config.data.path is empty; expected the file of data set 'npz': set --config.data.path=FILE"
    )
  own = names.named("datasets", dataset) is not None  # its function says whether it takes one
  if path and dataset not in ("npz", "utkface") and not own:
    raise SettingsError(
      f"config.data.path is '{path}', but data set '{dataset}' reads no file; expected an empty "
      "path: set --config.dataset=npz, or leave the path out"
    )


def _check_forget_list(settings: Entries) -> None:
  path = settings.data.forget
  if path and settings.study == ULIRA:
    raise SettingsError(
      f"config.data.forget is {shown(path)}, but a U-LiRA study draws its forget sets; expected an "
      f"empty path: leave it out, or set --config.study={BENCHMARK}"
    )
  _refuse_sum_alone("data.forget", settings.data.forget_sha256, path, "list", "FILE")


def _refuse_sum_alone(entry: str, known: str, path: str, what: str, example: str) -> None:
  """Refuse the SHA-256 of a file that is not named."""
  if known and not path:
    raise SettingsError(
      f"config.{entry}_sha256 is given without a file; expected the {what} of that sum: set "
      f"--config.{entry}={example}, or leave the entry out"
    )


def check_sum(entry: str, given: str, found: str, what: str) -> None:
  """Raise SettingsError where a file does not hold what the config speaks of.

  Args:
    entry: with the SHA-256 that is expected, "" for any.
    found: the SHA-256 of `what`, the content with its path in words.
  """
  if given and given != found:
    raise SettingsError(
      f"config.{entry} is {given[:12]}..., but the {what} have {found[:12]}...: restore the file, "
      "or leave the entry out to take the file as it is"
    )


def _check_one_seed(settings: Entries) -> None:
  seeds, shadows = len(settings.seeds), settings.study == SEARCH and settings.search.splits
  if seeds > 1 and (settings.study == ULIRA or shadows):
    raise SettingsError(
      f"config.seeds has {seeds} seeds, but all models of a U-LiRA study begin with the same "
      f"weights; expected one: set --config.seeds=0, or --config.study={BENCHMARK}"
    )


def _check_unlearning_seeds(settings: Entries) -> None:
  if settings.unlearning_seeds > 1 and settings.study != BENCHMARK:
    raise SettingsError(
      f"config.unlearning_seeds is {settings.unlearning_seeds}, but only a benchmark unlearns an "
      f"original more than once; expected 1 where config.study is {settings.study}"
    )


def _check_scenario(settings: Entries) -> None:
  """Refuse what a rule does not read, and what it needs and was not given."""
  asked, default = settings.scenario, ScenarioSettings()
  for name in dict.fromkeys(entry for entries in READS.values() for entry in entries):
    if getattr(asked, name) != getattr(default, name) and name not in READS[asked.forget]:
      raise SettingsError(
        f"config.scenario.{name} is {getattr(asked, name)}, which rule '{asked.forget}' does not "
        "read; set --config.scenario.forget, or leave it out"
      )
  shadows = bool(settings.search.splits) if settings.study == SEARCH else settings.study == ULIRA
  readers = {BENCHMARK: REQUESTS, SEARCH: REQUESTS, ULIRA: SHADOWED}
  rules = SHADOWED if shadows else readers.get(settings.study, (RANDOM,))
  if asked.forget not in rules or (rules != REQUESTS and asked.retain_share != 1):
    takes = "shadow models take" if shadows else f"a study of kind {settings.study} takes"
    raise SettingsError(
      f"config.scenario.forget is '{asked.forget}' and retain_share {asked.retain_share:g}; "
      f"expected {' or '.join(rules)}, and 1, as {takes} no other"
    )
  _check_draws(settings)
  _refuse_sum_alone("scenario.scores", asked.scores_sha256, asked.scores, "numbers", "FILE.npy")
  _refuse_sum_alone("scenario.path", asked.path_sha256, asked.path, "list", "FILE.npz")
  if asked.forget == RANDOM:
    return
  if settings.data.forget:
    raise SettingsError(
      f"config.data.forget names a list, and config.scenario.forget is '{asked.forget}'; expected "
      "one of the two: leave one out"
    )
  if asked.forget == CLASSES and not asked.classes:
    raise SettingsError(
      "config.scenario.classes is empty; expected at least one class: set "
      "--config.scenario.classes=3"
    )
  if asked.forget == GROUPS and not asked.groups:
    raise SettingsError(
      "config.scenario.groups is 0; expected how many groups are forgotten: set "
      "--config.scenario.groups=8"
    )
  if asked.forget == RANKED and not asked.scores:
    raise SettingsError(
      "config.scenario.scores is empty; expected numbers to rank samples by: set "
      "--config.scenario.scores=FILE.npy, or a U-LiRA study's run directory"
    )
  if asked.forget == LISTED and not asked.path:
    raise SettingsError(
      "config.scenario.path is empty; expected the file of positions to forget: set "
      "--config.scenario.path=FILE.npz"
    )


def _check_draws(settings: Entries) -> None:
  """Refuse draws and rounds where nothing reads them, or where they say the same twice."""
  asked = settings.scenario
  for name in ("draws", "rounds"):
    count = getattr(asked, name)
    if count > 1 and settings.study != BENCHMARK:
      raise SettingsError(
        f"config.scenario.{name} is {count}, which only a benchmark reads, as models of other "
        f"studies forget one set, at once; expected 1 where config.study is {settings.study}"
      )
    if count > 1 and settings.unlearning_seeds > 1:
      raise SettingsError(
        f"config.scenario.{name} is {count} and config.unlearning_seeds "
        f"{settings.unlearning_seeds}; expected one of the two to be 1: run them apart"
      )
  if asked.classes == EACH and settings.study != BENCHMARK:
    raise SettingsError(
      f"config.scenario.classes is '{EACH}', which only a benchmark reads, as models of other "
      f"studies forget one set; expected classes where config.study is {settings.study}: set "
      "--config.scenario.classes=3"
    )
  if asked.draws > 1 and asked.classes == EACH:
    raise SettingsError(
      f"config.scenario.classes is '{EACH}', a draw for each class, and config.scenario.draws "
      f"{asked.draws}; expected one of the two: leave draws out"
    )
  if asked.draws > 1 and (settings.data.forget or asked.forget == LISTED):
    entry = "data.forget" if settings.data.forget else "scenario.path"
    raise SettingsError(
      f"config.scenario.draws is {asked.draws}, but config.{entry} names the one set to be "
      "forgotten; expected 1: leave draws out"
    )


def _check_split_seeds(settings: Entries) -> None:
  """Refuse splits of their own whose seeds, sums of two, no generator takes."""
  asked = settings.search
  further = (*asked.robust_seeds, *asked.check_seeds) if settings.study == SEARCH else ()
  data, largest = settings.data, max((*settings.seeds, *further))
  drawn = data.split_per_seed and settings.study != ULIRA  # whose models share one pool
  if drawn and not SEED.holds(data.split_seed + largest):
    raise SettingsError(
      f"config.data.split_seed is {data.split_seed} and config.seeds goes up to {largest}; with "
      f"config.data.split_per_seed their sum is a seed, at most {SEED.high}: give smaller ones"
    )


def _check_fresh_seeds(settings: Entries) -> None:
  """Refuse to check a choice on seeds that it was made on."""
  asked = settings.search
  if settings.study == SEARCH and asked.splits and (asked.robust_seeds or asked.check_seeds):
    raise SettingsError(
      f"config.search.splits is {asked.splits}, so the search is of shadow models, which have no "
      "further seeds; expected robust_seeds and check_seeds to be empty"
    )
  taken = {seed: "config.seeds" for seed in settings.seeds}
  for name, given in (("robust_seeds", asked.robust_seeds), ("check_seeds", asked.check_seeds)):
    twice = [seed for seed in given if seed in taken]
    if settings.study == SEARCH and twice:
      raise SettingsError(
        f"config.search.{name} has seed {twice[0]}, which is one of {taken[twice[0]]}; expected "
        "others, as a configuration looks better than it is on the seeds that it was chosen on"
      )
    taken |= dict.fromkeys(given, f"config.search.{name}")


def _check_recipe(settings: Entries) -> None:
  """Refuse what nothing would read, or only one of two could follow."""
  asked = settings.recipe
  _refuse_sum_alone("recipe.start", asked.start_sha256, asked.start, "weights", "FILE")
  if asked.loss and asked.label_smoothing:
    raise SettingsError(
      f"config.recipe.label_smoothing is {asked.label_smoothing:g}, which is of cross-entropy, and "
      "config.recipe.loss names another loss; expected one of the two: leave one out"
    )
  if asked.augment and not settings.data.augment:
    raise SettingsError(
      "config.data.augment is False, and config.recipe.augment names an augmentation; expected one "
      "of the two: leave one out"
    )
