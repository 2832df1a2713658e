"""Whether a result looks like a mistake, and how a caller is told."""

import inspect
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
from jaxmu.training.method import Method

JUDGED, JUDGED_BATCH = 1000, 500  # samples on which the result is looked at, and those of a step


def warn(sentences: Iterable[str]) -> None:
  """Warn of each sentence, at the caller's line that led here."""
  for sentence in sentences:
    warnings.warn(sentence, UnlearningWarning, stacklevel=_depth())


def _depth() -> int:
  """Count the frames from `warn` to the first one outside of the package."""
  frame, depth = inspect.currentframe(), 0
  while frame is not None and frame.f_globals["__name__"].startswith("jaxmu."):
    frame, depth = frame.f_back, depth + 1
  return depth


def idle(method: Method, hyperparameters: Mapping[str, Any], module: Any, params: Any) -> list[str]:
  """Say where a network lacks what a method acts on, so that it does less than its name says."""
  static = {name: hyperparameters[name] for name in method.static}
  lacking = method.inert(module, params, static)
  return [f"{method.name} finds in {type(module).__name__} no {lacking}"] if lacking else []


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
