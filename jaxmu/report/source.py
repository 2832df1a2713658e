"""What reports of all kinds say about the run behind them, read once from its directory."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxmu.audit.results import Described
from jaxmu.audit.text import duration, plural
from jaxmu.errors import StoreError
from jaxmu.report.marks import Mark, assign
from jaxmu.settings import RecipeSettings, ReportSettings
from jaxmu.settings.own_section import OwnSettings
from jaxmu.settings.study_sections import ScenarioSettings
from jaxmu.store import Run, typed_json
from jaxmu.store.groups import Cost
from jaxmu.store.manifest import Manifest
from jaxmu.store.run import CONFIG, MANIFEST

TIMINGS = "timings.json"


@dataclass(frozen=True)
class ReportedModel:
  """Which network, with its options; `width` is read by "cnn" only."""

  name: str
  width: int
  lowering: str


@dataclass(frozen=True)
class ReportedLabels:
  """Share of all samples that were given a random label, in [0, 1]."""

  random_labels: float


@dataclass(frozen=True)
class ReportedEvaluation:
  """How often seeds are resampled for intervals."""

  bootstrap: int


@dataclass(frozen=True)
class ReportedConfig:
  """What a report says of a run's config."""

  name: str
  data: ReportedLabels
  model: ReportedModel
  training: Mapping[str, Any]
  evaluation: ReportedEvaluation
  report: ReportSettings = field(default_factory=ReportSettings)
  recipe: RecipeSettings = field(default_factory=RecipeSettings)
  own: OwnSettings = field(default_factory=OwnSettings)
  scenario: ScenarioSettings = field(default_factory=ScenarioSettings)


@dataclass(frozen=True, kw_only=True)
class RunData(Described):
  """What a report of any kind says about the run behind it."""

  config: ReportedConfig
  manifest: Manifest
  timings: Mapping[str, Cost]

  @property
  def title(self) -> str:
    return self.config.name

  @property
  def random_labels(self) -> float:
    """Share of all samples that were given a random label, in [0, 1]."""
    return self.config.data.random_labels

  @property
  def chance(self) -> float:
    """Accuracy of guessing, 1 / classes."""
    return 1.0 / self.manifest.dataset.num_classes

  @functools.cached_property
  def marks(self) -> Mapping[str, Mark]:
    """Label, colour and marker of every method, the same in all figures and tables."""
    return assign(self.manifest.methods)

  def label(self, method: str) -> str:
    """Return a method's name for readers."""
    return self.marks[method].label

  def clock(self, method: str) -> str:
    """Say how long a stage took, without compilation and predictions."""
    cost = self.timings.get(method)
    if cost is None:
      return ""
    models = plural(cost.models, "model") if cost.models else "all models"
    return f" ({duration(cost.wall_s)} here for {models} together)"

  def needs(self, method: str) -> tuple[str, ...]:
    """Name the sets a method may touch, in a fixed order."""
    touched = self.manifest.methods[method].needs
    return tuple(name for name in ("retain", "forget", "val") if name in touched)


def about(run: Run) -> RunData:
  """Read what reports of all kinds say about a run."""
  return RunData(config=reported_config(run), manifest=run.manifest, timings=timings(run))


def reported_config(run: Run) -> ReportedConfig:
  """Read what a report says of a run's config; StoreError where a part of it is missing."""
  return typed_json.parse(ReportedConfig, run.config, run.path / CONFIG)


def check_methods(run: Run, name: str, methods: Iterable[str]) -> None:
  """Refuse a file with methods that the manifest does not describe: it is of another run."""
  unknown = [method for method in methods if method not in run.manifest.methods]
  if unknown:
    raise StoreError(
      f"{run.path / name} has method '{unknown[0]}', which {MANIFEST} beside it does not describe;"
      " both must come from one run: delete the file and run the same command again"
    )


def timings(run: Run) -> Mapping[str, Cost]:
  """Read what every stage cost; it may be absent."""
  found = run.record(Mapping[str, Cost], TIMINGS) if run.has(TIMINGS) else {}
  check_methods(run, TIMINGS, found)
  return found
