"""What is measured of one model the moment it is finished."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmu.audit import evaluation
from jaxmu.audit.formulas import accuracy

SETS = {"RA": "retain", "FA": "forget", "VA": "val", "TA": "test"}
_KNOWN = ("method", "seed", "finite", "failed_steps", "passes")  # a row of a record has its own


def accuracies(
  logits: np.ndarray, labels: np.ndarray, split: Any, samples: np.ndarray | None = None
) -> dict[str, float]:
  """Return accuracies on the sets of a model's split, as far as its logits cover them.

  Args:
    logits: [n, C] of the samples at `samples`, or of all.
    labels: int [N] of all samples.
    samples: positions int [n]; None for all.
  """
  place = np.arange(len(labels))
  if samples is not None:
    place = np.full(len(labels), -1)
    place[samples] = np.arange(len(samples))
    labels = labels[samples]
  sets = {name: place[getattr(split, part)] for name, part in SETS.items()}
  covered = {name: index for name, index in sets.items() if len(index) and (index >= 0).all()}
  return {name: float(accuracy(logits, labels, index)) for name, index in covered.items()}


def metrics(
  logits: np.ndarray, dataset: Any, split: Any, *, failure: str, passes: float
) -> Mapping[str, Any]:
  """Return the metrics of one model that need no other model, as the benchmark's tables have them.

  Args:
    logits: [N, C] of all samples of the data set.
    failure: "" or the steps in which it was non-finite.
  """
  found = evaluation.measure(
    logits[None],
    dataset.labels,
    dataset.original_labels,
    split,
    method="",
    seeds=[0],
    failed_steps=[failure],
    passes=passes,
  )
  (row,) = found.rows
  return {name: value for name, value in row.items() if name not in _KNOWN}
