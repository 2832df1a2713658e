"""Logits of a caller's model."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.api import placement
from jaxmu.api.arrays import alone
from jaxmu.api.model import read, read_list
from jaxmu.api.preparation import Preparation
from jaxmu.data.samples import check_images
from jaxmu.engine.population import Population
from jaxmu.errors import DataError, shown
from jaxmu.execution import predictions
from jaxmu.settings.ranges import SAMPLES, Unfit, fit
from jaxmu.training import Task


def predict(
  model: Any,
  variables: Any,
  x: Any,
  *,
  batch_size: int = 500,
  preprocess: Callable[[jax.Array], jax.Array] | None = None,
  mean: Any = None,
  std: Any = None,
  memory_limit: int | None = None,
) -> np.ndarray:
  """Return eval-mode logits [N, classes] for x [N, ...], float and normalised.

  Args:
    model, variables: as for `jaxmu.unlearn`; None are an nnx module's own. Of a list of K models
      the logits are [K, N, classes].
    x: also in a file, or larger than the device: it is then read while programs run.
    preprocess, mean, std, memory_limit: for x as it is stored; see `jaxmu.unlearn`.

  Raises:
    DataError: for images of the wrong form or a batch size below 1.
    ModelError: for variables or a model of the wrong form.
  """
  if isinstance(variables, list | tuple):
    read_list(model, variables)  # all of them before the first is computed with
    how = {"batch_size": batch_size, "preprocess": preprocess, "mean": mean, "std": std}
    how |= {"memory_limit": memory_limit}
    return np.stack([predict(model, one, x, **how) for one in variables])
  network = read(model, variables)
  if isinstance(x, tuple) and len(x) == 2 and getattr(x[0], "ndim", 0) > 1:
    raise DataError(
      "x is a pair (x, y); expected samples alone: predict(model, variables, pair[0])"
    )
  try:
    batch_size = fit(batch_size, int, SAMPLES)
  except Unfit as expected:
    raise DataError(f"batch_size must be {expected}, got {shown(batch_size)}") from None
  limit = placement.limit(memory_limit)
  prepared = Preparation(preprocess, mean, std)
  x = check_images("x", x, prepared.stored)
  classes = network.classes(prepared.network_input(x))
  task = Task(network.network, classes, prepared.rule(x))
  return logits(task, network.variables, x, batch_size, limit)


def logits(
  task: Task, variables: Mapping[str, Any], x: Any, batch_size: int, limit: int | None = None
) -> np.ndarray:
  """Return eval-mode logits [N, C] of checked variables on checked samples."""
  population = Population(1, devices=(jax.devices()[0],))
  arrays = placement.placed(population, [x], jnp.zeros(len(x), jnp.int32), limit)
  with placement.reading(arrays):
    return predictions.logits(population, task, arrays, alone(variables), batch_size)[0]
