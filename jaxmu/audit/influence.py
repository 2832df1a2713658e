"""How much each sample moves each metric of one member: what intervals over samples are made of.

An influence is a vector [N] over the data set, zero outside the metric's sets, summing to zero: the
first-order change of the metric when a sample weighs more. Influences of derived metrics follow by
the chain rule, and those of a difference are differences.
"""

import numpy as np
from scipy.stats import rankdata

from jaxmu.audit.attacks.population_mia import Guesses

Influence = dict[str, np.ndarray]


def of_mean(values: np.ndarray, index: np.ndarray, size: int) -> np.ndarray:
  """Return the influence on a mean of `values` [n], of the samples `index` of `size` in all."""
  found = np.zeros(size, np.float32)
  found[index] = (values - values.mean()) / len(values) if len(values) else 0
  return found


def of_guesses(sides: tuple[Guesses, Guesses], sets: tuple[np.ndarray, np.ndarray], size: int):
  """Return the influence on the accuracy of fold-wise guesses, sides (unseen, forget)."""
  found = np.zeros(size, np.float32)
  total = sum(side.asked.sum() for side in sides)
  for side, index in zip(sides, sets):
    rate = side.right.sum() / side.asked.sum()
    found[index] += (side.right - side.asked * rate) / total
  return found


def of_credits(sides: tuple[np.ndarray, np.ndarray], sets, size: int) -> np.ndarray:
  """Return the influence on a balanced accuracy, credits [n] per side, NaN where not asked."""
  found = np.zeros(size, np.float32)
  for credit, index in zip(sides, sets):
    asked = np.isfinite(credit)
    found[index[asked]] += (credit[asked] - credit[asked].mean()) / (2 * asked.sum())
  return found


def of_auc(losses: np.ndarray, sets: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
  """Return the influence on the AUC of losses [N], sets (unseen, forget): centred placements."""
  unseen, forget = (losses[index] for index in sets)
  m, n = len(unseen), len(forget)
  both = rankdata(np.concatenate([unseen, forget]))
  # How many of the other side lie below, ties counting half.
  below_unseen = both[:m] - rankdata(unseen)
  above_forget = m - (both[m:] - rankdata(forget))
  found = np.zeros(len(losses), np.float32)
  for index, placement in ((sets[0], below_unseen / n), (sets[1], above_forget / m)):
    found[index] += (placement - placement.mean()) / len(index)
  return found
