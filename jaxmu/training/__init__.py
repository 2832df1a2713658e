"""One training step of ONE model, epochs as scans; what is trained is a value (`Phase`)."""

from jaxmu.training import losses, schedules
from jaxmu.training.epoch import EpochMetrics, TrainState, run_epoch, start_phase
from jaxmu.training.optimizers import sgd
from jaxmu.training.phase import Pass, Phase
from jaxmu.training.task import Batch, Task, View

__all__ = [
  "Batch",
  "EpochMetrics",
  "Pass",
  "Phase",
  "Task",
  "TrainState",
  "View",
  "losses",
  "run_epoch",
  "schedules",
  "sgd",
  "start_phase",
]
