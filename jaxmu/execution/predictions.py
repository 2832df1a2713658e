"""Logits of a whole population on all samples: written once, read by every attack."""

import dataclasses
import functools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmu.data import on_host
from jaxmu.data.streams import Order, Samples
from jaxmu.engine.population import Population, Program
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays


def logits(
  population: Population,
  task: Task,
  arrays: Arrays,
  variables: Any,
  batch_size: int = 500,
) -> np.ndarray:
  """Evaluate every member on every sample, in eval mode and without augmentation.

  Always in float32, whatever a task computes in when it trains: attacks rank by small differences.

  Args:
    arrays: N samples, as placed by `Population.share`.
    variables: leaves [K, ...], on the host or as `Population.place` lays them out.
    batch_size: samples per step; does not change the result's meaning, only its speed.

  Returns:
    Logits, [K, N, C].
  """
  n = arrays.labels.shape[0]
  task = dataclasses.replace(task, compute="float32")
  program = _program(population.frame, task, n, min(batch_size, n))
  # The engine donates its state; an empty one keeps the variables alive for the caller.
  _, out = program({}, population.place(variables), arrays, population)
  return population.collect(out)


def compile_logits(
  population: Population,
  task: Task,
  arrays: Arrays,
  variables: Any,
  batch_size: int = 500,
) -> None:
  """Compile what `logits` runs, so that it need not wait; nothing is allocated.

  Args:
    variables: descriptions of leaves [K, ...].
    population, task, arrays, batch_size: as for `logits`.
  """
  n = arrays.labels.shape[0]
  float32 = dataclasses.replace(task, compute="float32")
  program = _program(population.frame, float32, n, min(batch_size, n))
  program.compile({}, population.shapes(variables), arrays)


def _program(population: Population, task: Task, n: int, batch_size: int) -> Program:
  """Make or find a program; threads that ask for the same get the same."""
  with _one_at_a_time:
    return _make(population, task, n, batch_size)


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=16)
def _make(population: Population, task: Task, n: int, batch_size: int) -> Program:
  def evaluate(state: Any, variables: Any, arrays: Arrays) -> tuple[Any, jax.Array]:
    view = View(task, arrays, {}, {})

    def batch(index: jax.Array) -> jax.Array:
      x = view.fetch(Samples(index)).x
      return task.forward(variables["params"], variables["batch_stats"], x, train=False)[0]

    whole = n - n % batch_size
    rest = Samples(jnp.arange(whole, n)) if whole < n else None
    order = Order(Samples(jnp.arange(whole).reshape(-1, batch_size)), rest)
    order = on_host.expect(arrays.images, order)
    parts = [lax.map(batch, order.full.index).reshape(whole, -1)]
    if order.rest is not None:
      parts.append(batch(order.rest.index))
    return state, jnp.concatenate(parts)

  return population.map(evaluate)
