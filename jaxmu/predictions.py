"""Logits of a whole population on all samples: written once, read by every attack."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmu.data.streams import Samples
from jaxmu.population import Population, Program
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays


def logits(
  population: Population, task: Task, arrays: Arrays, variables: Any, batch_size: int = 500
) -> np.ndarray:
  """Evaluate every member on every sample, in eval mode and without augmentation.

  Args:
    arrays: N samples, as placed by `Population.share`.
    variables: leaves [K, ...], on the host or as `Population.place` lays them out.
    batch_size: samples per step; does not change the result's meaning, only its speed.

  Returns:
    Logits, [K, N, C].
  """
  n = arrays.labels.shape[0]
  program = _program(population, task, n, min(batch_size, n))
  # The engine donates its state; an empty one keeps the variables alive for the caller.
  _, out = program({}, population.place(variables), arrays)
  return population.collect(out)


@functools.lru_cache(maxsize=16)
def _program(population: Population, task: Task, n: int, batch_size: int) -> Program:
  def evaluate(state, variables, arrays):
    view = View(task, arrays, {}, {})

    def batch(index):
      x = view.fetch(Samples(index)).x
      return task.forward(variables["params"], variables["batch_stats"], x, train=False)[0]

    whole = n - n % batch_size
    parts = [lax.map(batch, jnp.arange(whole).reshape(-1, batch_size)).reshape(whole, -1)]
    if whole < n:
      parts.append(batch(jnp.arange(whole, n)))
    return state, jnp.concatenate(parts)

  return population.map(evaluate)
