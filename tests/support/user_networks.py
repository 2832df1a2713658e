"""Users' own networks, as the tests of the Python interface call it on them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxmu

SMALL = {"batch_size": 8, "num_epochs": 1, "learning_rate": 0.01}


class Stock(nn.Module):
  """Flax's own layers, batch statistics, and the flag `train`."""

  @nn.compact
  def __call__(self, x, train):
    x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x)))
    return nn.Dense(4)(x.mean((1, 2)))


class Dropping(nn.Module):
  """No batch statistics, dropout, and the flag `deterministic`."""

  rate: float = 0.5

  @nn.compact
  def __call__(self, x, deterministic):
    x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x)).reshape(len(x), -1)
    return nn.Dense(4)(nn.Dropout(self.rate, deterministic=deterministic)(x))


class Table(nn.Module):
  """Rows of numbers, no convolution and no flag; computes in a type of its own."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x):
    return nn.Dense(4, dtype=self.dtype)(nn.relu(nn.Dense(5, dtype=self.dtype)(x)))


def initial(module, shape=(6, 6, 1), **flags):
  shape = jnp.zeros((1, *shape))
  return jax.tree.map(
    np.asarray, jax.jit(lambda k: module.init(k, shape, **flags))(jax.random.key(4))
  )


def ft(stock, sets, **options):
  """Fine-tune the stock network briefly; options replace arguments."""
  given = {
    "method": "ft",
    "model": Stock(),
    "variables": stock,
    "retain": sets.get("retain"),
    **SMALL,
  }
  return jaxmu.unlearn(**{**given, **options})


def spoil(pair, place, value):
  x = pair[0].copy()
  x[place, 1, 2, 0] = value
  return x, pair[1]
