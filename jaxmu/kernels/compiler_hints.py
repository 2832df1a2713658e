"""Hints to XLA's CPU compiler; other backends need none, there values pass through.

It removes `lax.optimization_barrier` before it fuses, so a barrier hides nothing from fusion. There
`after` and `anew` multiply by a 1 that the compiler cannot foresee: exact, also for NaN, infinities
and -0, and fused into whatever consumes the result.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax


def after(value: Array, other: Array) -> Array:
  """Return `value` in such a way that nothing made from it can be computed before `other`.

  XLA copies a buffer that is to be updated in place while another operation may still read it.
  """
  if jax.default_backend() != "cpu" or other.size == 0:
    return value
  bits = lax.bitcast_convert_type(other.ravel()[0].astype(jnp.float32), jnp.uint32)
  one = 1 + ((bits >> 31) >> 1)
  return value * one.astype(value.dtype)


def anew(x: Array) -> Array:
  """Return x for computing again what was computed from it before.

  XLA merges equal computations, and then keeps the result in memory from one use to the other.
  """
  return after(x, x)


def transposed(x: Array) -> Array:
  """Return x [m, n] as an array [n, m] of its own, for the left factor of a product.

  Left alone, XLA folds the transpose into the product, which its fast library does not take then.
  """
  if jax.default_backend() != "cpu":
    return x.T
  return lax.optimization_barrier(x.T)  # in the way of folding, which comes before its removal
