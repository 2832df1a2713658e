"""Gradient transformations of unlearning methods, in the vocabulary of optax (methods.md 0.3)."""

import jax
import jax.numpy as jnp
import optax

from jaxmu.models import structure
from jaxmu.training.method import FIXED


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


def gate_updates(gates) -> optax.GradientTransformation:
  """Let only the open entries of an update through; put it LAST, after decay and momentum.

  Args:
    gates: tree like the updates, of bool arrays or scalars; what is closed does not move at all.
  """

  def update(updates, state, params=None):
    del params
    return jax.tree.map(
      lambda u, gate: jnp.where(gate, u, jnp.zeros((), u.dtype)), updates, gates
    ), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def moves(leaf: structure.Leaf, hp, batch_norm: str) -> bool:
  """Tell whether a leaf gets a gradient; attention biases get none in the reference's eval mode.

  Its TinyViT then reads a cached copy of them; weight decay does not reach them either
  (methods.md 2.4). Fixed fidelity trains them.
  """
  return leaf.kind != "attn_bias" or hp["fidelity"] == FIXED or batch_norm == "train"


def count(fraction: jax.Array, size: int, floor: bool = False, rest=0.0) -> jax.Array:
  """Return round(fraction * size), half to even, or its floor; int32, the fraction may be traced.

  A float32 product of millions has a spacing of a quarter, enough to round to a neighbour. So the
  whole multiples of 1/4096 of the fraction are multiplied as integers, and only the small rest as a
  float.

  Args:
    rest: what the fraction lost when it was rounded to its dtype. For sizes beyond some 100,000 a
      float32 fraction alone is not exact enough to give the count of the double it stands for.
  """
  scaled = jnp.asarray(fraction) * 4096.0  # exact: a power of two
  whole = jnp.floor(scaled).astype(jnp.int32)
  blocks, left = divmod(size, 4096)
  # fraction * size = (whole + part) / 4096 * (4096 blocks + left)
  small = (scaled - whole) * blocks + scaled * (left / 4096) + rest * size
  below = jnp.floor(small)
  total = whole * blocks + below.astype(jnp.int32)
  if floor:
    return total
  above = small - below
  up = (above > 0.5) | ((above == 0.5) & (total % 2 == 1))
  return total + up.astype(jnp.int32)


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


def _bisect(too_small, dtype, width=None):
  """Return the largest unsigned integer b with too_small(b), 0 if there is none."""
  dtype = jnp.dtype(dtype)
  width = width or 8 * dtype.itemsize

  def body(i, found):
    trial = found | (jnp.ones((), dtype) << (width - 1 - i).astype(dtype))
    return jnp.where(too_small(trial), trial, found)

  return jax.lax.fori_loop(0, width, body, jnp.zeros((), dtype))


def transpose_kernels(params):
  """Swap the two spatial axes of every convolution kernel [h, w, I, O]; an involution."""
  convolutional = structure.mask(params, lambda leaf: leaf.kind == "conv")
  swap = lambda leaf, conv: jnp.swapaxes(leaf, 0, 1) if conv else leaf
  return jax.tree.map(swap, params, convolutional)


def stem_is_a_layer(module) -> bool:
  """Tell whether the stem is a layer of the network itself, as CFW and KDE require to touch it.

  TinyViT's is a part of its patch embedding, where the reference does not look (methods.md 6.3,
  6.6).
  """
  return type(module).__name__ != "TinyViT"
