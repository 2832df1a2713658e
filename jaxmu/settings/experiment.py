"""A config file, checked once and turned into frozen dataclasses.

Every message says what was given, what was expected and what to do. Defaults are the reference's
recipe (spec data_models 7).
"""

import hashlib
import json
import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any

from jaxmu.errors import SettingsError, closest
from jaxmu.settings import checks
from jaxmu.settings.checks import COUNT, DECAY, MOMENTUM, NATURAL, OPEN_UNIT, POSITIVE, SHARE

Value = bool | int | float | str
COMPUTE = ("float32", "bfloat16")
LOWERINGS = (
  "auto", "measured", "lax", "canonical", "taps", "mixed", "patches", "dense", "winograd"
)  # fmt: skip
FITS = ("normal", "robust", "median")
VARIANCES = ("auto", "sample", "scaled", "fixed")
FIDELITIES = ("default", "reference", "fixed")
# Entries that change where, how fast or how safely a run goes, or how it is summarised, but none
# of its numbers. Everything else decides which run directory is used.
INCIDENTAL = frozenset(
  {"name", "data_dir", "output_dir", "checkpoint_seconds", "population.devices"}
  | {"population.members_at_once", "evaluation.bootstrap"}
  | {"ulira.splits", "ulira.forgets", "ulira.fit", "ulira.variance"}  # a study grows in its place
)


@dataclass(frozen=True)
class Catalog:
  """Name what a config may ask for; `methods` maps each one to hyper-parameters and defaults."""

  datasets: Collection[str]
  models: Collection[str]
  methods: Mapping[str, Mapping[str, Value]]


def limited(within: checks.Range, **options) -> Any:
  """Declare a numeric entry that must lie in a range."""
  return field(metadata={"within": within}, **options)


@dataclass(frozen=True)
class DataSettings:
  """Which samples are used, how they are split, and whether training augments them."""

  path: str = ""  # of the user's arrays, for data set "npz"
  subset_train: int = limited(NATURAL, default=0)  # 0 keeps all
  subset_test: int = limited(NATURAL, default=0)
  val_fraction: float = limited(OPEN_UNIT, default=0.15)
  forget_fraction: float = limited(OPEN_UNIT, default=0.10)
  split_seed: int = limited(checks.SEED, default=123)
  split_per_seed: bool = False  # draw every part anew for each seed, the test part too
  random_labels: float = limited(SHARE, default=0.0)  # share of all samples
  random_label_seed: int = limited(checks.SEED, default=123)
  augment: bool = True


@dataclass(frozen=True)
class ModelSettings:
  """Which network; `width` is read by "cnn" only.

  `lowering` says how convolutions are computed: "auto" (by rule on CPUs, else measured),
  "measured", or a name that pins all of them.
  """

  name: str
  width: int = limited(COUNT, default=32)
  lowering: str = "auto"


@dataclass(frozen=True)
class TrainingSettings:
  """How original and retrained models are trained."""

  num_epochs: int = limited(COUNT, default=182)
  batch_size: int = limited(COUNT, default=256)
  learning_rate: float = limited(POSITIVE, default=0.1)
  momentum: float = limited(MOMENTUM, default=0.9)
  weight_decay: float = limited(DECAY, default=5e-4)
  data_seed: int = limited(
    checks.SEED, default=123
  )  # batch order and augmentation, for all members


@dataclass(frozen=True)
class PopulationSettings:
  """How members share the machine, and in which numbers their networks are computed.

  `chunk` and `members_at_once` are "auto" or a number; devices 0 means all.
  """

  chunk: int | str = "auto"
  devices: int = limited(NATURAL, default=0)
  members_at_once: int | str = "auto"
  compute: str = field(default="float32", metadata={"choices": COMPUTE})


@dataclass(frozen=True)
class UliraSettings:
  """A study of shadow models in place of the benchmark (spec evaluation 9), where `splits` > 0.

  `splits` random halves of the first `pool` samples (0: all of 95 % of the train part), `forgets`
  forget sets in each; one original per split, or one per forget set as in the reference. `fit` and
  `variance` are the attacker's Gaussians; "auto" takes one ratio of standard
  deviations for all samples ("scaled") where models per sample are few.
  """

  splits: int = limited(NATURAL, default=0)
  forgets: int = limited(COUNT, default=10)
  pool: int = limited(NATURAL, default=0)
  share_original: bool = True
  fit: str = field(default="normal", metadata={"choices": FITS})
  variance: str = field(default="auto", metadata={"choices": VARIANCES})


@dataclass(frozen=True)
class EvaluationSettings:
  """How predictions are made and intervals are computed."""

  batch_size: int = limited(COUNT, default=500)
  bootstrap: int = limited(COUNT, default=2000)


@dataclass(frozen=True)
class Settings:
  """Hold one checked experiment; `unlearning` has every hyper-parameter of every chosen method."""

  name: str
  dataset: str
  data_dir: str
  data: DataSettings
  model: ModelSettings
  seeds: tuple[int, ...]
  methods: tuple[str, ...]
  training: TrainingSettings
  unlearning: dict[str, dict[str, Value]]
  fidelity: str
  population: PopulationSettings
  evaluation: EvaluationSettings
  ulira: UliraSettings
  checkpoint_seconds: float
  output_dir: str

  @classmethod
  def from_config(cls, config: Mapping[str, Any], catalog: Catalog) -> "Settings":
    """Check a config (an `ml_collections.ConfigDict` or nested dicts); raise `SettingsError`."""
    raw = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    checks.known_keys("config", raw, [f.name for f in fields(cls)])
    methods = checks.names("config.methods", raw.get("methods", ()), catalog.methods)
    settings = cls(
      name=checks.file_name("config.name", raw.get("name", "")),
      dataset=checks.choice("config.dataset", raw.get("dataset", ""), catalog.datasets),
      data_dir=checks.value("config.data_dir", raw.get("data_dir", ""), str),
      data=_section(DataSettings, "config.data", raw),
      model=_section(ModelSettings, "config.model", raw),
      seeds=checks.seeds("config.seeds", raw.get("seeds", ())),
      methods=methods,
      training=_section(TrainingSettings, "config.training", raw),
      unlearning=_unlearning(raw.get("unlearning", {}), methods, catalog.methods),
      fidelity=checks.choice("config.fidelity", raw.get("fidelity", "default"), FIDELITIES),
      population=_section(PopulationSettings, "config.population", raw),
      evaluation=_section(EvaluationSettings, "config.evaluation", raw),
      ulira=_section(UliraSettings, "config.ulira", raw),
      checkpoint_seconds=checks.value(
        "config.checkpoint_seconds", raw.get("checkpoint_seconds", 30.0), float, DECAY
      ),
      output_dir=checks.value("config.output_dir", raw.get("output_dir", "checkpoints"), str),
    )
    checks.choice("config.model.name", settings.model.name, catalog.models)
    checks.choice("config.model.lowering", settings.model.lowering, LOWERINGS)
    _check_path(settings)
    _check_study(settings)
    return settings

  def to_dict(self) -> dict[str, Any]:
    """Give all entries as JSON-ready nested dicts; `from_config` reads them back."""
    return json.loads(json.dumps(asdict(self)))

  def identity(self) -> dict[str, Any]:
    """Give the entries that can change a number in the results."""
    kept = {}
    for key, entry in self.to_dict().items():
      if key in INCIDENTAL or (key == "ulira" and not self.ulira.splits):
        continue
      if isinstance(entry, dict):
        entry = {k: v for k, v in entry.items() if f"{key}.{k}" not in INCIDENTAL}
      kept[key] = entry
    return kept

  @property
  def hash8(self) -> str:
    """Give the first 8 hex digits of the SHA-256 of `identity` as canonical JSON."""
    text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def schema() -> dict[str, Any]:
  """Give the type of each entry that a config may have, sections as nested dicts.

  `unlearning` is an empty dict: its entries depend on the methods.
  """
  return _schema(Settings)


def _schema(cls: type) -> dict[str, Any]:
  kinds = {}
  for entry in fields(cls):
    kind = entry.type
    if is_dataclass(kind):
      kinds[entry.name] = _schema(kind)
    elif entry.name == "unlearning":
      kinds[entry.name] = {}
    else:
      kinds[entry.name] = str if isinstance(kind, types.UnionType) else _origin(kind)
  return kinds


def _origin(kind: Any) -> type:
  return getattr(kind, "__origin__", kind)


def _section(cls: type, path: str, raw: Mapping[str, Any]) -> Any:
  """Build one section's dataclass from the entries given for it and the defaults of the rest."""
  given = checks.section(path, raw.get(path.removeprefix("config."), {}))
  checks.known_keys(path, given, [f.name for f in fields(cls)])
  entries = {}
  for entry in fields(cls):
    where = f"{path}.{entry.name}"
    if entry.name in given:
      entries[entry.name] = _entry(where, given[entry.name], entry)
    elif entry.default is MISSING:
      raise SettingsError(f"{where} is missing; add it to the config file or give --{where}=...")
  return cls(**entries)


def _entry(where: str, given: Any, entry: Any) -> Any:
  """Check one entry of a section by what its field declares."""
  if isinstance(entry.type, types.UnionType):
    return checks.auto_count(where, given)
  if choices := entry.metadata.get("choices"):
    return checks.choice(where, given, choices)
  return checks.value(where, given, entry.type, entry.metadata.get("within"))


def _unlearning(
  given: Any, methods: tuple[str, ...], known: Mapping[str, Mapping[str, Value]]
) -> dict[str, dict[str, Value]]:
  """Check the overrides of all methods named, and complete those of the chosen ones."""
  given = checks.section("config.unlearning", given)
  complete = {method: dict(known[method]) for method in methods}
  for method, overrides in given.items():
    if method not in known:
      raise SettingsError(f"config.unlearning: unknown method '{method}'; {closest(method, known)}")
    path = f"config.unlearning.{method}"
    overrides = checks.section(path, overrides)
    checks.known_keys(path, overrides, known[method], kind="hyper-parameter")
    for name, entry in overrides.items():
      checked = checks.hyper_parameter(f"{path}.{name}", entry, known[method][name])
      if method in complete:
        complete[method][name] = checked
  return complete


def _check_path(settings: Settings) -> None:
  path, dataset = settings.data.path, settings.dataset
  if dataset == "npz" and not path:
    raise SettingsError(
      "config.data.path is empty; expected the file of data set 'npz': set --config.data.path=FILE"
    )
  if path and dataset != "npz":
    raise SettingsError(
      f"config.data.path is '{path}', but data set '{dataset}' reads no file; expected an empty "
      "path: set --config.dataset=npz, or leave the path out"
    )


def _check_study(settings: Settings) -> None:
  splits, seeds = settings.ulira.splits, len(settings.seeds)
  if splits == 1:
    raise SettingsError(
      "config.ulira.splits is 1; expected 0 (no study) or at least 2: only models of other splits "
      "never saw a sample"
    )
  if splits and seeds > 1:
    raise SettingsError(
      f"config.seeds has {seeds} seeds, but all models of a U-LiRA study begin with the same "
      "weights; expected one: set --config.seeds=0, or --config.ulira.splits=0 for the benchmark"
    )
