"""The closed forms of metrics: numbers, or arrays of them, in and out."""

from collections.abc import Mapping

import numpy as np


def accuracy(logits: np.ndarray, labels: np.ndarray, index: np.ndarray | slice = slice(None)):
  """Return the fraction of the samples `index` whose largest logit is their label.

  `logits` [..., N, C], `labels` [N]; the result has the leading shape, NaN for an empty index.
  """
  index = np.arange(len(labels))[index]
  if not index.size:
    return np.full(logits.shape[:-2], np.nan)[()]
  return (logits[..., index, :].argmax(-1) == labels[index]).mean(-1)


def retention(value, reference):
  """Return the accuracy ratio value / reference (spec evaluation 2); NaN where reference is 0.

  Raises:
    ValueError: one of the accuracies lies outside [0, 1].
  """
  value, reference = np.asarray(value, float), np.asarray(reference, float)
  for name, x in (("value", value), ("reference", reference)):
    if np.any((x < 0) | (x > 1 + 1e-9)):  # a mean of ones may exceed one by round-off
      raise ValueError(f"{name} must be an accuracy in [0, 1], got {x}")
  with np.errstate(divide="ignore", invalid="ignore"):
    return np.where(reference > 0, value / reference, np.nan)[()]


def retention_deviation(rr, fr, tr):
  """Return `|RR - 1| + |FR - 1| + |TR - 1|`; 0 is ideal (spec evaluation 2)."""
  return abs(rr - 1) + abs(fr - 1) + abs(tr - 1)


def discernibility(mia):
  """Return `|2 MIA - 1|`: an attack below one half counts like one above (spec evaluation 2)."""
  return abs(2 * mia - 1)


def indiscernibility(mia):
  """Return `1 - Disc`, 1 where the attack is at chance (spec evaluation 2)."""
  return 1 - discernibility(mia)


def gap(*differences):
  """Return the mean of absolute differences to retraining; 0 is ideal (AMUN's average gap)."""
  return sum(map(abs, differences)) / len(differences)


def nomus(test_accuracy, mia):
  """Return `(test_accuracy + Indisc) / 2`, 1 at best (spec extensions 4, with lambda one half)."""
  return (test_accuracy + indiscernibility(mia)) / 2


def sape(a, b):
  """Return `100 |b - a| / (|a| + |b|)`, per cent; 0 for two zeros (spec evaluation 2)."""
  a, b = np.asarray(a, float), np.asarray(b, float)
  total = np.abs(a) + np.abs(b)
  return np.where(total == 0, 0.0, 100 * np.abs(b - a) / np.where(total == 0, 1, total))[()]


def rte(time, retrain_time):
  """Return retraining time / unlearning time; above 1 is faster than retraining."""
  time, retrain_time = np.asarray(time, float), np.asarray(retrain_time, float)
  with np.errstate(divide="ignore", invalid="ignore"):
    return (retrain_time / time)[()]


def equivalent_passes(trained: float, forward: float = 0) -> float:
  """Return the work in sample-passes: 3 per sample trained on, 1 per forward pass only.

  `rte` of two such numbers is the machine-independent RTE_work (spec evaluation 5).
  """
  return 3.0 * trained + forward


def search_objective(unlearned: Mapping[str, float], retrained: Mapping[str, float]) -> np.ndarray:
  """Return the four values a search minimises, [4]; all inf if one of them is not finite.

  Thirds of the absolute differences of RA, FA, VA, then Disc of V_MIA (spec evaluation 6.1).
  """
  gaps = [abs(unlearned[key] - retrained[key]) / 3 for key in ("RA", "FA", "VA")]
  values = np.array([*gaps, discernibility(unlearned["V_MIA"])], float)
  return values if np.isfinite(values).all() else np.full(4, np.inf)


def search_score(values: np.ndarray) -> float:
  """Return the Euclidean norm of the four values; the smallest is chosen (spec evaluation 6.4)."""
  return float(np.sqrt(np.square(values).sum()))
