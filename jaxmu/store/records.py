"""What a run says about work that is done: the forms of its JSON files beside the manifest.

Fields stand in the order in which they are written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attack:
  """How the samples of a study were attacked."""

  variance: str
  fit: str
  paired: bool
  leave_out: str


@dataclass(frozen=True)
class Spread:
  """Models per sample."""

  mean: float
  min: int
  max: int


@dataclass(frozen=True)
class StudySizes:
  """Samples of one model's sets; what is held out, it never saw."""

  train: int
  retain: int
  forget: int
  val: int
  held_out: int


@dataclass(frozen=True)
class StudyRecord:
  """study.json: size and attack of a study of shadow models.

  Attributes:
    models, originals: how many models a method, and the originals, have.
    pool: samples that the splits divide.
    failed: stage -> models that diverged and were left out.
  """

  attack: Attack
  forgotten_per_sample: Spread
  never_per_sample: Spread
  splits: int
  forgets: int
  models: int
  originals: int
  pool: int
  sizes: StudySizes
  failed: Mapping[str, int]


@dataclass(frozen=True)
class ExposedRecord:
  """exposed.json: the samples whose images exposed.npy holds, in its order."""

  samples: tuple[int, ...]
  labels: tuple[int, ...]
  original_labels: tuple[int, ...]


@dataclass(frozen=True)
class CheckedScore:
  """Mean S of a configuration over n seeds that were not searched, with its interval.

  On `failed` further seeds its model turned non-finite: these have no S, and are in no mean.
  """

  n: int
  value: float
  low: float
  high: float
  failed: int = 0


@dataclass(frozen=True)
class TunedRecord:
  """What a search chose for one method, and where that comes from.

  Attributes:
    hyperparameters: rule ("reference", "robust") -> complete hyper-parameters.
    searched: the least S of all trials: too good, as it is the best of many.
    checked: "given" (what the config had), and the rules -> S on seeds that were not searched.
    trials: of all seeds together.
    search: name of the run directory.
  """

  method: str
  dataset: str
  network: str
  hyperparameters: Mapping[str, Mapping[str, Any]]
  searched: float
  checked: Mapping[str, CheckedScore]
  trials: int
  seeds: tuple[int, ...]
  search: str
  date: str
  versions: Mapping[str, str]
