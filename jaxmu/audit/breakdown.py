"""What one number per model hides: accuracy by class, confusions, and an attack's ROC curve."""

from collections.abc import Mapping

import numpy as np

from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.audit.formulas import accuracy

CLASS_COLUMNS = ("method", "seed", "set", "class", "n", "accuracy")
CONFUSION_COLUMNS = ("method", "seed", "set", "class", "predicted", "share")
ROC_COLUMNS = ("method", "seed", "fpr", "tpr")
POINTS = 50  # of a ROC curve


def by_class(
  logits: np.ndarray, labels: np.ndarray, sets: Mapping[str, np.ndarray]
) -> list[dict[str, object]]:
  """Return the accuracy on each class of each set: its samples' `n`, and `accuracy` in [0, 1].

  Args:
    logits: of one model, [N, C].
    labels: int [N].
    sets: positions by name. Classes that a set lacks are left out.
  """
  rows: list[dict[str, object]] = []
  for name, index in sets.items():
    for one in np.unique(labels[index]).tolist():
      chosen = index[labels[index] == one]
      value = float(accuracy(logits[chosen], labels[chosen]))
      rows.append({"set": name, "class": one, "n": len(chosen), "accuracy": value})
  return rows


def confusion(
  logits: np.ndarray, labels: np.ndarray, sets: Mapping[str, np.ndarray]
) -> list[dict[str, object]]:
  """Return which share of a class's samples in each set is predicted as which class.

  Classes as which none is predicted are left out; the shares of a class add up to 1.

  Args:
    logits: of one model, [N, C]; all finite.
    labels: int [N].
    sets: positions by name.
  """
  rows: list[dict[str, object]] = []
  for name, index in sets.items():
    counts = np.zeros((logits.shape[1],) * 2, int)
    np.add.at(counts, (labels[index], logits[index].argmax(-1)), 1)
    for true, predicted in np.argwhere(counts).tolist():
      share = counts[true, predicted] / counts[true].sum()
      rows.append({"set": name, "class": true, "predicted": predicted, "share": float(share)})
  return rows


def roc(
  logits: np.ndarray, labels: np.ndarray, forget: np.ndarray, unseen: np.ndarray
) -> list[dict[str, float]]:
  """Return the ROC curve of one threshold on the loss, forgotten (positive) against unseen samples.

  False-positive rates are spaced evenly in the logarithm, from one false alarm to all. A rate `fpr`
  allows at most that share of false alarms; ties go against the attacker.

  Args:
    logits: of one model, [N, C]; all finite.
    labels: int [N].
    forget, unseen: positions of both sides.
  """
  losses = cross_entropy(logits[None], labels)[0]
  others, members = np.sort(losses[unseen]), np.sort(losses[forget])
  rates = np.geomspace(1 / len(others), 1, POINTS)
  allowed = np.floor(rates * len(others) * (1 + 1e-12)).astype(int)
  bars = np.append(others, np.inf)[np.minimum(allowed, len(others))]  # accused: losses below
  hits = np.searchsorted(members, bars, "left") / len(members)
  return [{"fpr": float(x), "tpr": float(y)} for x, y in zip(rates, hits)]
