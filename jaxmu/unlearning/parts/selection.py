"""The smallest or largest of millions of weights, their number exact and possibly traced."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def count(
  fraction: jax.Array | float, size: int, floor: bool = False, rest: jax.Array | float = 0.0
) -> jax.Array:
  """Return round(fraction * size), half to even, or its floor; int32, the fraction may be traced.

  A float32 product of millions has a spacing of a quarter, enough to round to a neighbour. So the
  whole multiples of 1/4096 of the fraction are multiplied as integers, and only the small rest as a
  float.

  Args:
    rest: what the fraction lost when it was rounded to its dtype. For sizes beyond some 100,000 a
      float32 fraction alone is not exact enough to give the count of the double it stands for.
  """
  scaled = jnp.asarray(fraction) * 4096.0  # exact: a power of two
  floor_of_scaled = jnp.floor(scaled)
  whole = floor_of_scaled.astype(jnp.int32)
  blocks, left = divmod(size, 4096)
  # fraction * size = (whole + part) / 4096 * (4096 blocks + left)
  small = (scaled - floor_of_scaled) * blocks + scaled * (left / 4096) + rest * size
  below = jnp.floor(small)
  total = whole * blocks + below.astype(jnp.int32)
  if floor:
    return total
  above = small - below
  up = (above > 0.5) | ((above == 0.5) & (total % 2 == 1))
  return total + up.astype(jnp.int32)


def lost(number: float) -> float:
  """Return what a number loses in the arrays' precision; no device is touched."""
  return number - float(np.asarray(number, jax.dtypes.canonicalize_dtype(float)))


def smallest(values: jax.Array, number: jax.Array) -> jax.Array:
  """Mark the `number` smallest entries of values >= 0; the number may be traced.

  Equal entries count in stored order; NaN is larger than all. Sorting millions of entries takes
  seconds on a CPU, so the threshold is found by bisection: floats >= 0 are ordered as their bits
  are, one pass over the values fixes one bit, and among entries at the threshold a second bisection
  finds the place up to which they belong.
  """
  flat = values.reshape(-1)
  bits = jax.lax.bitcast_convert_type(jnp.abs(flat), f"uint{8 * flat.dtype.itemsize}")
  least = _bisect(lambda bound: jnp.sum(bits < bound, dtype=jnp.int32) < number, bits.dtype)
  below, equal = bits < least, bits == least
  left = number - jnp.sum(below, dtype=jnp.int32)
  place = jax.lax.iota(jnp.uint32, flat.size)
  last = _bisect(
    lambda bound: jnp.sum(equal & (place < bound), dtype=jnp.int32) < left,
    jnp.uint32,
    flat.size.bit_length(),
  )
  chosen = below | (equal & (place <= last) & (left > 0))
  return chosen.reshape(values.shape)


def _bisect(
  too_small: Callable[[jax.Array], jax.Array], dtype: Any, width: int | None = None
) -> jax.Array:
  """Return the largest unsigned integer b with too_small(b), 0 if there is none."""
  dtype = jnp.dtype(dtype)
  width = width or 8 * dtype.itemsize

  def body(i: jax.Array, found: jax.Array) -> jax.Array:
    trial = found | (jnp.ones((), dtype) << (width - 1 - i).astype(dtype))
    return jnp.where(too_small(trial), trial, found)

  return jax.lax.fori_loop(0, width, body, jnp.zeros((), dtype))
