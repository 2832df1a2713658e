"""What is measured of one model the moment it is finished."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmu.audit import evaluation
from jaxmu.audit.attacks.population_mia import population_mia_many
from jaxmu.audit.attacks.scores import cross_entropy
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


def validation(logits: np.ndarray, labels: np.ndarray, sets: Sequence[Any]) -> list[float]:
  """Attack members with the population attack, forget against validation samples (V_MIA).

  Where a search brings a control of its own, these samples are it.

  Args:
    logits: [K, N, C] of all samples of the data set.
    sets: the split of every member; those that share one are attacked together.

  Returns:
    One accuracy per member; NaN where a loss is not finite.
  """
  together: dict[int, list[int]] = {}
  for k, split in enumerate(sets):
    together.setdefault(id(split), []).append(k)
  found = [math.nan] * len(sets)
  for own in together.values():
    split = sets[own[0]]
    losses = [
      cross_entropy(logits[own][:, index], labels[index])
      for index in (split.val_unseen, split.forget)
    ]
    for k, result in zip(own, population_mia_many(*losses)):
      found[k] = result.accuracy
  return found
