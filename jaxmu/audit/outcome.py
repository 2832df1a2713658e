"""Whether one unlearned model still works, in words, from its logits before and after."""

import math
from collections.abc import Callable

import numpy as np

from jaxmu.audit.attacks.scores import usable
from jaxmu.audit.formulas import accuracy

MIN_RETENTION = 0.5  # mean TR below this is a failure (spec evaluation 8)


def useless(accuracy: float, ratio: float, chance: float) -> bool:
  """Tell whether a model lost more than half of what another reaches, or merely guesses.

  Args:
    ratio: of its accuracy to the other's. NaN, here and elsewhere: unknown.
  """
  return ratio < MIN_RETENTION or accuracy <= min(chance + 0.05, 1.5 * chance)


def damage(before: Callable[[], np.ndarray], after: np.ndarray, labels: np.ndarray) -> str:
  """Say in which way unlearning destroyed a model; "" where it did not.

  Destroyed is a model whose logits mean nothing; that gives all samples one class, as it did not
  before; or whose accuracy was above chance and fell, by more than two standard errors, to less
  than half or to about chance.

  Args:
    before: gives the logits before unlearning, [n, C]; not called where those after it suffice.
    after: logits [n, C] of samples that should still be classified.
    labels: int [n].
  """
  count, chance = len(labels), 1 / after.shape[-1]
  broken = int((~usable(after)).sum())
  if broken:
    return f"the logits of {broken} of {count} samples are not finite"
  new, classes = float(accuracy(after, labels)), set(after.argmax(-1).tolist())
  constant = len(classes) == 1 < len(set(labels.tolist()))
  if not constant and not useless(new, new, chance):  # whatever it was, it lost less than half
    return ""
  logits = before()
  old = float(accuracy(logits, labels))
  if constant and len(set(logits.argmax(-1).tolist())) > 1:
    return f"all {count} samples are given class {classes.pop()}"
  noise = math.sqrt((old * (1 - old) + new * (1 - new)) / count)
  if useless(old, 1.0, chance) or old - new <= 2 * noise or not useless(new, new / old, chance):
    return ""
  return f"accuracy fell from {old:.3f} to {new:.3f}, where guessing gives {chance:.3f}"
