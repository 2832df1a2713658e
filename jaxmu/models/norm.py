"""Batch normalisation with PyTorch's conventions, and with exact statistics for padded batches."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.errors import ModelError


class BatchNorm(nn.Module):
  """Normalise x [..., C] over all axes but the last.

  Normalises with the biased batch variance and keeps a running mean and the running *unbiased* variance
  (n/(n-1)), as PyTorch does; `momentum` 0.9 is PyTorch's 0.1. With `mask` [B] (0 or 1) the samples whose
  mask is 0 do not count. Raises ModelError for one value per channel in train mode. Source: spec
  data_models 4 and 6.
  """

  momentum: float = 0.9
  epsilon: float = 1e-5
  how: str = "auto"

  @nn.compact
  def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
    features = x.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (features,), x.dtype)
    bias = self.param("bias", nn.initializers.zeros, (features,), x.dtype)
    mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), x.dtype)
    var = self.variable("batch_stats", "var", jnp.ones, (features,), x.dtype)
    if not train:
      factor = scale * lax.rsqrt(var.value + self.epsilon)
      return (x - mean.value) * factor + bias
    count = x.size // features
    if count < 2:
      raise ModelError("batch normalisation in train mode needs more than one value per channel")
    weights = None
    n = jnp.asarray(count, x.dtype)
    if mask is not None:
      weights = mask.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1))
      n = jnp.sum(weights) * (count // x.shape[0])
    axes = tuple(range(x.ndim - 1))
    mu = jnp.sum(x if weights is None else x * weights, axes) / n
    centred = x - mu
    square = centred * centred if weights is None else centred * centred * weights
    sigma2 = jnp.sum(square, axes) / n
    if not self.is_initializing():
      unbiased = sigma2 * (n / (n - 1))
      mean.value = self.momentum * mean.value + (1 - self.momentum) * mu
      var.value = self.momentum * var.value + (1 - self.momentum) * unbiased
    return centred * (scale * lax.rsqrt(sigma2 + self.epsilon)) + bias
