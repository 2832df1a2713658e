"""How much of a spread comes from training, from unlearning, and from the samples of the sets.

Models of one seed that were unlearned several times share their original: what differs between them
is the randomness of unlearning alone (batch orders, noise, augmentation). Lanyon et al. (arXiv
2510.26714) show that this part is the smaller one for many methods, so that unlearning one original
many times makes an interval look surer than it is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmu.audit import metrics
from jaxmu.audit.influence import Influence
from jaxmu.audit.metric import LOGITS

COLUMNS = ("method", "metric", "training", "unlearning", "samples", "seeds", "repeats")


class Parts(NamedTuple):
  """Standard deviations of one model's number.

  Attributes:
    training: between originals of different seeds (and their splits, where each has its own).
    unlearning: between unlearning runs from one original.
  """

  training: float
  unlearning: float


def parts(values: np.ndarray) -> Parts:
  """Split a spread by a one-way analysis of variance with random effects.

  The mean square within a seed estimates the variance of unlearning, and that between seeds J times
  that of training plus it; a negative difference reads 0.

  Args:
    values: [S, J], J unlearning runs from each of S originals; NaN where there are too few.
  """
  seeds, repeats = values.shape
  if seeds < 2 or repeats < 2:
    return Parts(math.nan, math.nan)
  within = float(values.var(axis=1, ddof=1).mean())
  between = float(values.mean(axis=1).var(ddof=1))
  return Parts(math.sqrt(max(between - within / repeats, 0.0)), math.sqrt(within))


def of_samples(influences: Sequence[np.ndarray]) -> float:
  """Return the standard deviation of one model's number over other samples in its sets.

  Args:
    influences: of each model, [N] (see `influence`).
  """
  variances = [np.square(moved, dtype=float).sum() for moved in influences]
  return math.sqrt(np.mean(variances)) if variances else math.nan


def table(
  method: str, rows: Sequence[Mapping[str, Any]], influences: Sequence[Influence]
) -> list[dict[str, Any]]:
  """Return a row of `COLUMNS` for each metric that logits give.

  Args:
    rows: of the method's models, with "seed", "repeat" (0 for the first) and "finite".
    influences: of the first model of each seed; {} where it failed.
  """
  repeats = 1 + max(row["repeat"] for row in rows)
  sound: dict[int, dict[int, Mapping[str, Any]]] = {}
  for row in rows:
    if row["finite"]:
      sound.setdefault(row["seed"], {})[row["repeat"]] = row
  whole = [own for own in sound.values() if len(own) == repeats]  # seeds without a failure
  found = []
  for metric in metrics.reading(LOGITS):
    moved = [own[metric.name] for own in influences if metric.name in own]
    if metric.word or not moved or not whole:
      continue
    values = np.array([[own[j][metric.name] for j in range(repeats)] for own in whole], float)
    known = (*parts(values), of_samples(moved), len(whole), repeats)
    found.append(dict(zip(COLUMNS, (method, metric.name, *known))))
  return found
