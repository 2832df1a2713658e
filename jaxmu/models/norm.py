"""Batch normalisation with PyTorch's conventions, and with exact statistics for padded batches."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.errors import ModelError
from jaxmu.kernels import derivatives
from jaxmu.kernels.compiler_hints import after


class BatchNorm(nn.Module):
  """Normalise x [..., C] over all axes but the last.

  In train mode normalises with the biased batch variance and moves the running mean and the running
  *unbiased* variance (n/(n-1)) towards the batch, as PyTorch does; `momentum` 0.9 is PyTorch's 0.1.
  Samples whose `mask` [B] is 0 do not count: the statistics are those of the batch without them.
  Statistics of half-precision images are taken in float32. `zero_scale` starts the scale at 0
  instead of 1. Raises ModelError for one value per channel in train mode. Source: spec data_models
  4 and 6.
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
      return _scale_and_shift(x, mean.value, var.value, scale, bias, self.epsilon)
    real, n = _real(x, mask)
    normalise = derivatives.form(_normalise)
    y, batch_mean, batch_var = normalise(x, scale, bias, real, 1 / n, self.epsilon)
    if not self.is_initializing():
      # A mask may leave one value per channel; then the biased variance, 0, stands.
      unbiased = batch_var * (n / jnp.maximum(n - 1, 1))
      mean.value = self._moved(mean.value, batch_mean)
      var.value = self._moved(var.value, unbiased)
    return y

  def _moved(self, running: Array, batch: Array) -> Array:
    kept, new = _widened(self.momentum * running, (1 - self.momentum) * batch)
    return kept + new


def _real(x, mask):
  """Return which samples count, bool [B, 1, ...] or None, and values per channel."""
  per_sample = math.prod(x.shape[1:-1])
  if x.shape[0] * per_sample < 2:
    raise ModelError(
      "batch normalisation in train mode needs more than one value per channel; "
      f"an array of shape {x.shape} has one"
    )
  if mask is None:
    return None, jnp.asarray(x.shape[0] * per_sample, _precise(x))
  real = mask.astype(bool).reshape(-1, *[1] * (x.ndim - 1))
  return real, jnp.sum(real).astype(_precise(x)) * per_sample


def _precise(x):
  """Statistics of half-precision values are taken in float32."""
  return x.dtype if x.dtype.itemsize >= 4 else jnp.float32


def _widened(*arrays):
  """Cast arrays to the widest type among them."""
  widest = max((array.dtype for array in arrays), key=lambda dtype: dtype.itemsize)
  return [array.astype(widest) for array in arrays]


def _per_channel(x):
  """Return what gives an array of one value per channel, [C], the axes of x [..., C]."""
  return lambda values: lax.expand_dims(values, range(x.ndim - 1))


def _scale_and_shift(x, mean, var, scale, bias, epsilon):
  scale, inverse = _widened(scale, lax.rsqrt(var + epsilon))
  values, mean, factor, bias = _widened(x.astype(_precise(x)), mean, scale * inverse, bias)
  of_all = _per_channel(x)
  return ((values - of_all(mean)) * of_all(factor) + of_all(bias)).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _normalise(x, scale, bias, real, share, epsilon):
  """Return y like x, and the batch's mean [C] and biased variance [C]; `share` is 1/n.

  Two passes: the difference of mean square and squared mean loses digits in float32. The gradient
  is written out: it needs two sums over the batch, where automatic differentiation makes four.
  Sums are multiplied by `share` because XLA makes products of quotients in programs for several
  devices only (jax 0.10), and the last bit would depend on their number. The centred images are
  taken anew for the variance, the result and the gradient: that is cheaper than keeping them.
  """
  axes, values = tuple(range(x.ndim - 1)), x.astype(_precise(x))
  mean = jnp.sum(values, axes, where=real) * share
  var = jnp.sum(jnp.square(values - _per_channel(x)(mean)), axes, where=real) * share
  return _scale_and_shift(x, after(mean, var), var, scale, bias, epsilon), mean, var


def _normalise_forward(x, scale, bias, real, share, epsilon):
  y, mean, var = _normalise(x, scale, bias, real, share, epsilon)
  return (y, mean, var), (x, scale, bias, real, share, mean, var)


def _normalise_backward(epsilon, residuals, cotangents):
  x, scale, bias, real, share, mean, var = residuals
  dy, dmean, dvar = cotangents
  axes, dy, of_all = tuple(range(x.ndim - 1)), dy.astype(_precise(x)), _per_channel(x)
  centred = x.astype(_precise(x)) - of_all(after(mean, dy))
  inverse = lax.rsqrt(var + epsilon)
  sum_dy, sum_product = jnp.sum(dy, axes), jnp.sum(dy * centred, axes)
  # The batch reaches y through its mean and its variance as well, real samples only.
  wide = scale.astype(inverse.dtype)
  constant = (dmean - wide * inverse * sum_dy) * share
  slope = (2 * dvar - wide * inverse**3 * sum_product) * share
  through = of_all(constant) + of_all(slope) * centred
  if real is not None:
    through = jnp.where(real, through, 0)
  dx = of_all(wide * inverse) * dy + through
  cotangent = lambda of, value: value.astype(of.dtype)
  dscale = cotangent(scale, inverse * sum_product)
  return cotangent(x, dx), dscale, cotangent(bias, sum_dy), None, None


_normalise.defvjp(_normalise_forward, _normalise_backward)
