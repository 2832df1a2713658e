"""One training step of ONE model, epochs as scans; what is trained is a value (`Phase`)."""

from jaxmu.training import hyper, losses, schedules
from jaxmu.training.epoch import EpochMetrics, TrainState, run_epoch, start_phase
from jaxmu.training.optimizers import adam, heavy_ball, sgd
from jaxmu.training.phase import Pass, Phase, Report, Step
from jaxmu.training.task import Batch, Task, View

__all__ = [
  "Batch",
  "EpochMetrics",
  "Pass",
  "Phase",
  "Report",
  "Step",
  "Task",
  "TrainState",
  "View",
  "adam",
  "heavy_ball",
  "hyper",
  "losses",
  "run_epoch",
  "schedules",
  "sgd",
  "start_phase",
]
