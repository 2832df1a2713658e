"""Whether a result looks like a mistake, and how a caller is told."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxmu.api.prediction import logits
from jaxmu.audit import outcome
from jaxmu.data.samples import Samples
from jaxmu.errors import UnlearningWarning
from jaxmu.training import Task

JUDGED, JUDGED_BATCH = 1000, 500  # samples on which the result is looked at, and those of a step


def warn(sentences: Iterable[str]) -> None:
  """Warn of each sentence, at the line that called `unlearn`."""
  for sentence in sentences:
    warnings.warn(sentence, UnlearningWarning, stacklevel=3)


def doubts(
  method: str,
  task: Task,
  before: Mapping[str, Any],
  after: Mapping[str, Any],
  sets: Mapping[str, Samples],
) -> list[str]:
  """Say where unlearning changed nothing, or destroyed the model: wrong, and not an exception.

  A destroyed model is seen on samples that it should still classify, at most `JUDGED` of them.
  """
  same = lambda old, new: np.array_equal(np.asarray(old, new.dtype), np.asarray(new))
  if all(jax.tree.leaves(jax.tree.map(same, before["params"], after["params"]))):
    return [
      f"{method} changed nothing: every parameter is as it was; raise its rate, its epochs or the "
      "share that it changes"
    ]
  name = next((name for name in ("retain", "validation") if name in sets), None)
  if name is None:
    return []
  x, y = sets[name]
  chosen = np.linspace(0, len(x) - 1, min(len(x), JUDGED)).astype(int)
  task = Task(task.module, 0, task.preprocess)
  look = lambda variables: logits(task, variables, x[chosen], JUDGED_BATCH)
  damage = outcome.damage(lambda: look(before), look(after), y[chosen])
  advice = "use a smaller rate, fewer epochs or a smaller share"
  where = f"on {len(chosen)} samples of {name}"
  return [f"{method} destroyed the model: {damage} ({where}); {advice}"] if damage else []
