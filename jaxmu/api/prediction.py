"""Logits of a caller's model."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.api.arrays import alone
from jaxmu.api.preparation import Preparation
from jaxmu.data.samples import check_images
from jaxmu.engine.population import Population
from jaxmu.errors import DataError, shown
from jaxmu.execution import predictions
from jaxmu.models import user_network
from jaxmu.settings.ranges import SAMPLES, Unfit, fit
from jaxmu.training import Task
from jaxmu.training.task import Arrays


def predict(
  model: nn.Module,
  variables: Mapping[str, Any],
  x: Any,
  *,
  batch_size: int = 500,
  preprocess: Callable[[jax.Array], jax.Array] | None = None,
  mean: Any = None,
  std: Any = None,
) -> np.ndarray:
  """Return eval-mode logits [N, classes] for x [N, ...], float and normalised.

  Args:
    preprocess, mean, std: for x as it is stored; see `jaxmu.unlearn`.

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
  prepared = Preparation(preprocess, mean, std)
  x = check_images("x", x, prepared.stored)
  classes = check_network(model, start, prepared.network_input(x))
  return logits(Task(model, classes, prepared.rule(x)), start, x, batch_size)


def check_network(
  model: nn.Module, variables: Mapping[str, Any], x: jax.ShapeDtypeStruct, *, train: bool = False
) -> int:
  """Return how many classes a network tells apart, asked on shapes alone; `ModelError`.

  Args:
    x: what the network gets, [n, ...].
    train: whether it is to be trained as well.
  """
  classes = user_network.count_classes(model, variables, x)
  if train:
    user_network.count_classes(model, variables, x, train=True)
  user_network.refuse_unused(model, variables, x)
  return classes


def logits(task: Task, variables: Mapping[str, Any], x: np.ndarray, batch_size: int) -> np.ndarray:
  """Return eval-mode logits [N, C] of checked variables on checked samples."""
  population = Population(1, devices=(jax.devices()[0],))
  arrays = population.share(Arrays(jnp.asarray(x), jnp.zeros(len(x), jnp.int32)))
  return predictions.logits(population, task, arrays, alone(variables), batch_size)[0]
