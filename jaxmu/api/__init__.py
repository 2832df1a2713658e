"""The Python interface for your own Flax model and data.

`unlearn` and `unlearn_requests`, `train` and `retrain`, `predict`, `methods`.
"""

from jaxmu.api.calls import unlearn, unlearn_requests
from jaxmu.api.details import Unlearned
from jaxmu.api.fresh_models import retrain, train
from jaxmu.api.options import methods
from jaxmu.api.prediction import predict

__all__ = [
  "Unlearned",
  "methods",
  "predict",
  "retrain",
  "train",
  "unlearn",
  "unlearn_requests",
]
