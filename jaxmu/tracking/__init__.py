"""Trackers: curves and rows of a study, sent to TensorBoard, Weights & Biases or MLflow."""

from jaxmu.tracking.sending import Tracking
from jaxmu.tracking.trackers import TRACKERS, check

__all__ = ["TRACKERS", "Tracking", "check"]
