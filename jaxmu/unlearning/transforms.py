"""Gradient transformations of unlearning methods, in the vocabulary of optax (methods.md 0.3)."""

import jax
import jax.numpy as jnp
import optax

from jaxmu.models import structure


def scale_by_mask(multiplier) -> optax.GradientTransformation:
  """Multiply gradients leaf by leaf: g <- S * g.

  Stateless, and S is closed over, so under a population S is simply one more array of the member.
  Put it first in a chain to mask the raw gradient (weight decay and momentum still act), last to
  block every movement.

  Args:
    multiplier: tree like the gradients, of arrays or scalars.
  """

  def update(updates, state, params=None):
    del params
    return jax.tree.map(lambda g, s: g * jnp.asarray(s, g.dtype), updates, multiplier), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def ranks(values: jax.Array) -> jax.Array:
  """Return each entry's place in ascending order, int32, same shape; ties keep stored order."""
  flat = values.reshape(-1)
  place = jnp.zeros(flat.shape, jnp.int32).at[jnp.argsort(flat, stable=True)]
  return place.set(jnp.arange(flat.size, dtype=jnp.int32)).reshape(values.shape)


def count(fraction: jax.Array, size: int) -> jax.Array:
  """Return round(fraction * size), half to even, int32; the fraction in [0, 1] may be traced.

  A float32 product of millions has a spacing of a quarter, enough to round to a neighbour. So the
  whole multiples of 1/4096 of the fraction are multiplied as integers, and only the small rest as a
  float.
  """
  scaled = jnp.asarray(fraction) * 4096.0  # exact: a power of two
  whole = jnp.floor(scaled).astype(jnp.int32)
  blocks, left = divmod(size, 4096)
  # fraction * size = (whole + part) / 4096 * (4096 blocks + left)
  small = (scaled - whole) * blocks + scaled * (left / 4096)
  floor = jnp.floor(small)
  total = whole * blocks + floor.astype(jnp.int32)
  above = small - floor
  up = (above > 0.5) | ((above == 0.5) & (total % 2 == 1))
  return total + up.astype(jnp.int32)


def smallest(values: jax.Array, fraction: jax.Array) -> jax.Array:
  """Mark the round(fraction * size) smallest entries; the fraction may be traced."""
  return ranks(values) < count(fraction, values.size)


def transpose_kernels(params):
  """Swap the two spatial axes of every convolution kernel [h, w, I, O]; an involution."""
  convolutional = structure.mask(params, lambda leaf: leaf.kind == "conv")
  swap = lambda leaf, conv: jnp.swapaxes(leaf, 0, 1) if conv else leaf
  return jax.tree.map(swap, params, convolutional)
