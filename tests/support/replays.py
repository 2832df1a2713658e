"""Naive training to compare with: Python loops over unpadded batches in stored order, written-out
SGD with momentum, one gradient at a time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu import models
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays
from support import problems


@partial(jax.jit, static_argnums=(0, 1))
def gradient(module, loss, params, stats, x, y, extra):
  """Return ((loss, moved statistics), gradient) of one batch in train mode."""

  def value(params):
    logits, moved = models.forward(module, params, stats, x, train=True)
    return loss(logits, y, extra), moved

  return jax.value_and_grad(value, has_aux=True)(params)


def data(name="retain"):
  """Return x and y of a set of the tiny problem, float64."""
  x, y = problems.samples()
  places = problems.index()[name][0]
  return x[places].astype(np.float64), y[places]


def zeros(params):
  return jax.tree.map(np.zeros_like, params)


def epoch(
  state,
  samples,
  loss,
  *,
  rate,
  momentum,
  decay,
  size=8,
  steps=None,
  extra=None,
  module=None,
  trained=None,
):
  """Train `state` = (params, stats, momentum buffers) for a pass over samples = (x, y).

  Args:
    loss: (logits, y, rows of extra) -> scalar.
    steps: number of batches after which to stop.
    trained: leaves as a tree of bools; the others stay as they are.

  Returns:
    The new state, and the losses.
  """
  module = module or problems.TinyNet()
  params, stats, buffers = state
  trained = trained or jax.tree.map(lambda _: True, params)
  losses = []
  for first in range(0, len(samples[1]), size)[:steps]:
    part = slice(first, first + size)
    rows = None if extra is None else extra[part]
    (value, stats), grads = gradient(
      module, loss, params, stats, samples[0][part], samples[1][part], rows
    )
    buffers = jax.tree.map(lambda b, g, p: momentum * b + (g + decay * p), buffers, grads, params)
    step = lambda p, b, open_: p - rate * b if open_ else p
    params = jax.tree.map(step, params, buffers, trained)
    losses.append(float(value))
  return (params, stats, buffers), losses


def eval_logits(variables, x, module=None):
  """Return logits of the original, eval mode, as NumPy."""
  module = module or problems.TinyNet()
  params, stats = variables["params"], variables["batch_stats"]
  return np.asarray(models.forward(module, params, stats, x, train=False)[0])


def problem(y=None):
  """Return the tiny problem of one member in float64 and stored order, or with other labels."""
  x, labels = problems.samples()
  y = labels if y is None else y
  return problems.problem(1, x=x.astype(np.float64), y=y, shuffle=False)


def view(sets, module=None, y=None, **draws):
  """Return what `prepare` of one model sees of the tiny problem, float64."""
  x, labels = problems.samples()
  arrays = Arrays(jnp.asarray(x, float), jnp.asarray(labels if y is None else y))
  index = {name: jnp.asarray(problems.index()[name][0]) for name in sets}
  task = Task(module or problems.TinyNet(), problems.CLASSES, shuffle=False)
  return View(task, arrays, index, draws)


def start(seed=1):
  """Return variables of one member with leaves [1, ...], float64; statistics are not 0 and 1."""
  variables = jax.tree.map(np.array, problems.weights([seed]))
  variables["batch_stats"]["norm"]["mean"] += 0.2
  variables["batch_stats"]["norm"]["var"] += 0.5
  return variables


def alone(tree):
  return jax.tree.map(lambda leaf: np.asarray(leaf)[0], tree)


def close(found, wanted, rtol=1e-9, atol=1e-12):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
  jax.tree.map(compare, found, wanted)
