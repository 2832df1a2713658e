"""The Gaussian error linear unit of the vision transformers."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.kernels import derivatives
from jaxmu.kernels.compiler_hints import anew


def gelu(x: Array) -> Array:
  """Return x Phi(x), the exact form. Only x is kept for the gradient Phi(x) + x phi(x).

  Phi is computed once more for the gradient: that costs less than keeping it.
  """
  return derivatives.form(_gelu)(x)


def gelu_rows(x: Array) -> Array:
  """Return `gelu` of x [..., C] for a product to read: computed as the rows of its left factor.

  Where a reshape lies between, XLA computes the result anew in the transpose that the kernel's
  gradient needs, column by column.
  """
  return gelu(x.reshape(-1, x.shape[-1])).reshape(x.shape)


@jax.custom_vjp
def _gelu(x):
  return x * _normal_cdf(x)


def _normal_cdf(x):
  return 0.5 * (1 + lax.erf(x * math.sqrt(0.5)))  # erfc would cost twice as much


def _gelu_backward(x, dy):
  x = anew(x)
  density = jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
  return (dy * (_normal_cdf(x) + x * density),)


_gelu.defvjp(lambda x: (_gelu(x), x), _gelu_backward)
