"""What a run says about work that is done: the forms of its JSON files beside the manifest.

Fields stand in the order in which they are written.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CurveRow:
  """One member in one epoch of a stage: a row of curves.parquet.

  `loss` and `accuracy` are means over the `steps` that the member took; `epoch` counts from 1.
  """

  stage: str
  phase: str
  seed: int
  epoch: int
  steps: int
  loss: float
  accuracy: float
  learning_rate: float


@dataclass(frozen=True)
class StageTiming:
  """Seconds that a stage of a benchmark took, all members together, and steps of one member."""

  wall_s: float
  compile_s: float
  predict_s: float
  steps: int


@dataclass(frozen=True)
class StageRecord:
  """stages/STAGE.json, the marker of a finished stage.

  Attributes:
    identity: hash of all that decides the stage's numbers.
    passes: equivalent sample-passes that one member cost.
    failures: per member "" or the steps in which it was non-finite.
    borrowed_from: name of the run that computed it; "" for this one.
  """

  stage: str
  identity: str
  passes: float
  failures: tuple[str, ...]
  curves: tuple[CurveRow, ...]
  timing: StageTiming
  borrowed_from: str = ""


@dataclass(frozen=True)
class LegRecord:
  """Metadata of a saved leg of an unfinished stage, beside the arrays of `observations.Snapshot`.

  Attributes:
    phase, epoch, seconds, failures, targets, members: as in the snapshot.
    identity: hash of all that decides the stage's numbers.
    curves: rows of its members so far.
  """

  phase: int
  epoch: int
  seconds: float
  failures: tuple[str, ...]
  targets: tuple[int, ...]
  members: tuple[int, ...]
  identity: str
  curves: tuple[CurveRow, ...]


@dataclass(frozen=True)
class WaveRecord:
  """Metadata of a finished wave of an unfinished stage; `failures` and `passes` per member."""

  failures: tuple[str, ...]
  seconds: float
  compile_seconds: float
  passes: tuple[float, ...]
  identity: str
  curves: tuple[CurveRow, ...]


@dataclass(frozen=True)
class ShadowCost:
  """What the models of a stage of a study cost together; `passes` are sample-passes."""

  models: int
  wall_s: float
  compile_s: float
  predict_s: float
  passes: float

  def plus(self, other: "ShadowCost") -> "ShadowCost":
    """Return the cost of both."""
    return ShadowCost(
      self.models + other.models,
      self.wall_s + other.wall_s,
      self.compile_s + other.compile_s,
      self.predict_s + other.predict_s,
      self.passes + other.passes,
    )


@dataclass(frozen=True)
class ScoresRecord:
  """scores/STAGE.json: the models that have scores, as (split, forget set), in the rows' order.

  Attributes:
    identity: hash of all that decides the numbers.
    samples: length of a row.
    statistic: what a score is.
    failures: per model "" or when it turned non-finite.
  """

  identity: str
  samples: int
  statistic: str
  models: tuple[tuple[int, int], ...]
  failures: tuple[str, ...]
  cost: ShadowCost


@dataclass(frozen=True)
class OriginalsRecord:
  """Metadata of originals that were trained together; `models` and `failures` in their order."""

  stage: str
  models: tuple[tuple[int, int], ...]
  failures: tuple[str, ...]


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
