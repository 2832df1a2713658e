"""Logits of a caller's model."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.api.arrays import alone
from jaxmu.data.samples import check_images
from jaxmu.engine.population import Population
from jaxmu.errors import DataError, shown
from jaxmu.execution import predictions
from jaxmu.models import user_network
from jaxmu.settings.ranges import SAMPLES, Unfit, fit
from jaxmu.training import Task
from jaxmu.training.task import Arrays


def predict(
  model: nn.Module, variables: Mapping[str, Any], x: Any, *, batch_size: int = 500
) -> np.ndarray:
  """Return eval-mode logits [N, classes] for x, float, normalised, [N, H, W, C].

  Raises:
    DataError: for images of the wrong form or a batch size below 1.
    ModelError: for variables or a model of the wrong form.
  """
  user_network.check_module(model)
  start = user_network.plain_variables(variables)
  try:
    batch_size = fit(batch_size, int, SAMPLES)
  except Unfit as expected:
    raise DataError(f"batch_size must be {expected}, got {shown(batch_size)}") from None
  x = check_images("x", x)
  task = Task(model, user_network.count_classes(model, start, x))
  user_network.refuse_unused(model, start, x)
  return logits(task, start, x, batch_size)


def logits(task: Task, variables: Mapping[str, Any], x: np.ndarray, batch_size: int) -> np.ndarray:
  """Return eval-mode logits [N, C] of checked variables on checked samples."""
  population = Population(1, devices=(jax.devices()[0],))
  arrays = population.share(Arrays(jnp.asarray(x), jnp.zeros(len(x), jnp.int32)))
  return predictions.logits(population, task, arrays, alone(variables), batch_size)[0]
