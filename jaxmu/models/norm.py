"""Batch normalisation with PyTorch's conventions, and with exact statistics for padded batches."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.errors import ModelError


class BatchNorm(nn.Module):
  """Normalise x [..., C] over all axes but the last.

  In train mode normalises with the biased batch variance and moves the running mean and the running
  *unbiased* variance (n/(n-1)) towards the batch, as PyTorch does; `momentum` 0.9 is PyTorch's 0.1.
  Samples whose `mask` [B] is 0 do not count: the statistics are those of the batch without them.
  `zero_scale` starts the scale at 0 instead of 1. Raises ModelError for one value per channel in train mode. Source: spec data_models 4 and 6.
  """

  momentum: float = 0.9
  epsilon: float = 1e-5
  zero_scale: bool = False

  @nn.compact
  def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
    shape = (x.shape[-1],)
    start = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
    scale = self.param("scale", start, shape, x.dtype)
    bias = self.param("bias", nn.initializers.zeros, shape, x.dtype)
    mean = self.variable("batch_stats", "mean", jnp.zeros, shape, x.dtype)
    var = self.variable("batch_stats", "var", jnp.ones, shape, x.dtype)
    if not train:
      return (x - mean.value) * (scale * lax.rsqrt(var.value + self.epsilon)) + bias
    batch_mean, batch_var, n = moments(x, mask)
    if not self.is_initializing():
      # A mask may leave one value per channel; then the biased variance, 0, stands.
      unbiased = batch_var * (n / jnp.maximum(n - 1, 1))
      mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
      var.value = self.momentum * var.value + (1 - self.momentum) * unbiased
    return (x - batch_mean) * (scale * lax.rsqrt(batch_var + self.epsilon)) + bias


def moments(x: Array, mask: Array | None = None) -> tuple[Array, Array, Array]:
  """Return mean [C], biased variance [C] and number of values per channel of x [B, ..., C].

  Two passes: the difference of mean square and squared mean loses digits in float32.
  """
  axes = tuple(range(x.ndim - 1))
  per_sample = math.prod(x.shape[1:-1])
  if x.shape[0] * per_sample < 2:
    raise ModelError(
      "batch normalisation in train mode needs more than one value per channel; "
      f"an array of shape {x.shape} has one"
    )
  if mask is None:
    n = jnp.asarray(x.shape[0] * per_sample, x.dtype)
    mean = jnp.sum(x, axes) / n
    return mean, jnp.sum(jnp.square(x - mean), axes) / n, n
  real = mask.astype(bool).reshape(-1, *[1] * (x.ndim - 1))
  n = jnp.sum(real).astype(x.dtype) * per_sample
  # Not a quotient: XLA makes a product of it in programs for several devices only (jax 0.10), and
  # the last bit of the result would depend on their number.
  share = 1 / n
  mean = jnp.sum(x, axes, where=real) * share
  return mean, jnp.sum(jnp.square(x - mean), axes, where=real) * share, n
