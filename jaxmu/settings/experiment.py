"""A config file, checked once and turned into frozen dataclasses.

Every message says what was given, what was expected and what to do.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from jaxmu.errors import SettingsError, shown
from jaxmu.settings import (
  combinations,
  decisive,
  hyper_parameters,
  own_section,
  readers,
  refusals,
)
from jaxmu.settings.catalog import Catalog
from jaxmu.settings.choices import (
  BENCHMARK,
  FIDELITIES,
  RANDOM,
  TRACKERS,
  ULIRA,
)
from jaxmu.settings.cluster_section import ClusterSettings
from jaxmu.settings.entries import Entry, declared
from jaxmu.settings.hyper_parameters import HyperParameters
from jaxmu.settings.own_section import OwnSettings
from jaxmu.settings.ranges import MEMBERS, NOT_NEGATIVE
from jaxmu.settings.recipe_section import RecipeSettings
from jaxmu.settings.sections import (
  STRICT,
  DataSettings,
  EvaluationSettings,
  ModelSettings,
  PopulationSettings,
  ReportSettings,
  TrainingSettings,
)
from jaxmu.settings.study_sections import ScenarioSettings, SearchSettings, UliraSettings


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Settings:
  """Hold one checked experiment; `unlearning` has every hyper-parameter of every chosen method.

  Two experiments of one `identity` are one study, of which the larger one has more members.
  """

  name: Annotated[
    str,
    Entry(
      "first part of the run directory's name: letters, digits, `.`, `_`, `-`",
      read=readers.file_name,
      incidental=True,
    ),
  ]
  study: Annotated[
    str,
    Entry(
      "{studies}: members of other seeds, [shadow models](shadow_models.md) of other splits, or a "
      "[search](search.md) for hyper-parameters",
      read=readers.known("studies"),
    ),
  ] = BENCHMARK
  dataset: Annotated[
    str, Entry("{datasets}, or [your own](own_code.md#a-data-set)", read=readers.known("datasets"))
  ]
  data_dir: Annotated[
    str,
    Entry(
      "folder of prepared data sets; empty: `TFDS_DATA_DIR`, else `~/tensorflow_datasets`",
      read=readers.file_path,
      incidental=True,
    ),
  ] = ""
  data: DataSettings
  scenario: ScenarioSettings
  model: ModelSettings
  seeds: Annotated[
    tuple[int, ...],
    Entry(
      "one member per seed: initial weights and all of a member's randomness, 0 to 4294967295; "
      "`0..9` are ten of them",
      read=readers.seeds,
      incidental=True,
    ),
  ]
  methods: Annotated[
    tuple[str, ...],
    Entry(
      "unlearning methods ([your own](own_code.md#a-method), too), in the order of their stages",
      read=readers.method_names,
      incidental=True,
    ),
  ]
  unlearning_seeds: Annotated[
    int,
    Entry(
      "how often each original of a benchmark is unlearned; more than once tells the spread of "
      "unlearning from that of training ([how](evaluation.md#training-and-unlearning-apart))",
      within=MEMBERS,
      incidental=True,
    ),
  ] = 1
  training: TrainingSettings
  recipe: RecipeSettings
  tuned: Annotated[
    str,
    Entry(
      "hyper-parameters that a [search](search.md) found: `reference` or `robust` (that rule's, "
      "which the package ships for some data sets and networks), one of these by its name "
      "(`digits_cnn`), or a search's run directory. "
      "What `unlearning` says goes first. Empty: none",
      read=readers.file_path,
      incidental=True,
    ),
  ] = ""
  unlearning: Annotated[
    HyperParameters,
    Entry(
      "hyper-parameters that differ from a method's defaults ([below](#hyper-parameters))",
      read=hyper_parameters.read,
    ),
  ]
  own: OwnSettings
  fidelity: Annotated[
    str,
    Entry(
      "`default`, `reference` or `fixed`: which reading of a method where code and paper differ",
      choices=FIDELITIES,
    ),
  ] = "default"
  population: PopulationSettings
  evaluation: EvaluationSettings
  ulira: UliraSettings
  search: SearchSettings
  report: ReportSettings
  cluster: ClusterSettings
  checkpoint_seconds: Annotated[
    float,
    Entry(
      "least time between two saved epochs; 0 saves every epoch",
      within=NOT_NEGATIVE,
      incidental=True,
    ),
  ] = 30.0
  track: Annotated[
    str,
    Entry(
      "tracker that is told of every model's curves and numbers: `tensorboard`, `wandb`, `mlflow` "
      "([how](runs.md#trackers)); needs the extra of that name. Empty: none",
      read=readers.nothing_or(TRACKERS),
      incidental=True,
    ),
  ] = ""
  output_dir: Annotated[
    str, Entry("where run directories are made", read=readers.file_path, incidental=True)
  ] = "checkpoints"

  @classmethod
  def from_config(cls, config: Mapping[str, Any], catalog: Catalog) -> "Settings":
    """Check a config (an `ml_collections.ConfigDict` or nested dicts).

    A list of samples to forget is read, too, as its content belongs to the `identity`.

    Raises:
      SettingsError: an entry is unknown or cannot be used, or two of them together cannot.
      DataError: there is no list to forget, or it holds something else.
    """
    plain, catalog, own = own_section.read_methods(_plain(config), catalog)
    given = {name: {} for name in _sections()} | plain  # each section may be left out
    try:
      settings = TypeAdapter(cls).validate_python(given, context=catalog)
    except ValidationError as error:
      raise refusals.translate(error, schema()) from error
    settings = settings._with_own_list(catalog.names_forget)
    combinations.check(settings)
    combinations.check_study_is_named(plain)
    settings = settings._with_sum("data", "forget", catalog.forget_sha256, "positions")
    settings = settings._with_sum("scenario", "scores", catalog.scores_sha256, "numbers")
    settings = settings._with_sum("scenario", "path", catalog.listed_sha256, "positions")
    settings = settings._with_sum("recipe", "start", catalog.weights_sha256, "weights")
    return replace(settings, own=own_section.with_sums(settings, catalog, own))

  def _with_own_list(self, names_forget: Callable[[str], bool]) -> "Settings":
    """Forget the samples that the data file names, where the config asks for nothing else."""
    asked = self.data.forget or self.scenario.forget != RANDOM or self.study == ULIRA
    if asked or self.dataset != "npz" or not names_forget(self.data.path):
      return self
    return replace(self, data=replace(self.data, forget=self.data.path))

  def _with_sum(
    self, section: str, entry: str, identify: Callable[[str], str], content: str
  ) -> "Settings":
    """Take note of what the file that an entry names holds, if it names one."""
    part = getattr(self, section)
    path, known = getattr(part, entry), f"{entry}_sha256"
    if not path:
      return self
    found = identify(path)
    what = f"{content} in {path}"
    combinations.check_sum(f"{section}.{known}", getattr(part, known), found, what)
    return replace(self, **{section: replace(part, **{known: found})})

  def to_dict(self) -> dict[str, Any]:
    """Give all entries as JSON-ready nested dicts; `from_config` reads them back.

    A tuple of one hyper-parameter is written as its number, as configs give it.
    """
    return json.loads(json.dumps(asdict(self) | {"unlearning": decisive.written(self.unlearning)}))

  def identity(self) -> dict[str, Any]:
    """Give, JSON-ready, what can change a number in the results and what all members share.

    Left out is what makes a study larger: seeds, methods, splits and forget sets. Of `unlearning`
    it has what differs from the methods' defaults, of methods that are not chosen, too.
    """
    return decisive.identity(self)

  @property
  def hash8(self) -> str:
    """Give the first 8 hex digits of the SHA-256 of `identity` as canonical JSON."""
    return decisive.hash8(self.identity())


def schema() -> dict[str, Any]:
  """Give the type of each entry that a config may have, sections as nested dicts.

  `unlearning` is an empty dict: its entries depend on the methods.
  """
  return _schema(Settings)


def _schema(cls: type) -> dict[str, Any]:
  kinds: dict[str, Any] = {}
  for field in declared(cls):
    if field.entry is None:
      kinds[field.name] = _schema(field.kind)
    elif field.name == "unlearning":
      kinds[field.name] = {}
    else:
      union = isinstance(field.kind, types.UnionType)
      kinds[field.name] = str if union else getattr(field.kind, "__origin__", field.kind)
  return kinds


def _sections() -> list[str]:
  return [name for name, kinds in schema().items() if isinstance(kinds, dict)]


def _plain(config: Any) -> dict[Any, Any]:
  """Turn a config and its sections into dicts; what they hold is checked later."""
  try:
    raw = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    section = lambda entry: dict(entry) if isinstance(entry, Mapping) else entry
    return {key: section(entry) for key, entry in raw.items()}
  except Exception as error:  # placeholders without a value, references in circles ...
    raise SettingsError(
      f"config is {shown(config)}, which cannot be read ({type(error).__name__}: {error}); "
      "expected an ml_collections.ConfigDict or nested dicts, all keys text and all values given"
    ) from error
