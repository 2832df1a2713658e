"""What a run says about work that is done: the forms of its JSON files beside the manifest.

Fields stand in the order in which they are written.
"""

from collections.abc import Mapping
from dataclasses import dataclass


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
