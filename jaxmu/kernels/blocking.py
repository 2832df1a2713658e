"""Batches cut into equal parts, so that what is made from a part stays in a core's cache."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax


def images_within(images: Array, limit: int) -> int:
  """Return the largest divisor of the batch whose images take at most `limit` bytes; at least 1."""
  most = _number(images, limit)
  return max(d for d in _divisors(len(images)) if d <= most)


def images_near(images: Array, limit: int) -> int:
  """Return the divisor of the batch that is nearest, as a ratio, to as many as fit `limit` bytes.

  A batch of 67, say, has no part of about 64 images; better all at once than one by one.
  """
  most = _number(images, limit)
  return min(_divisors(len(images)), key=lambda d: (max(d / most, most / d), d))


def _number(images: Array, limit: int) -> int:
  """Return how many images take at most `limit` bytes; at least 1, at most the batch."""
  each = math.prod(images.shape[1:]) * images.dtype.itemsize
  return min(max(1, limit // each), len(images))


def _divisors(number: int) -> list[int]:
  return [d for d in range(1, number + 1) if number % d == 0]


def joined(function: Callable[..., Array], size: int, *arrays: Array) -> Array:
  """Apply `function` to parts of `size` images and put the results together, [B, ...]."""
  if size == len(arrays[0]):
    return function(*arrays)
  part = jax.eval_shape(function, *(array[:size] for array in arrays))
  write = lambda i, out: lax.dynamic_update_slice_in_dim(
    out, function(*_cut(arrays, i, size)), i * size, 0
  )
  whole = jnp.zeros((len(arrays[0]), *part.shape[1:]), part.dtype)
  return lax.fori_loop(0, len(arrays[0]) // size, write, whole)


def summed(function: Callable[..., Array], size: int, *arrays: Array) -> Array:
  """Apply `function` to parts of `size` images and add up the results."""
  if size == len(arrays[0]):
    return function(*arrays)
  part = jax.eval_shape(function, *(array[:size] for array in arrays))
  add = lambda i, total: total + function(*_cut(arrays, i, size))
  return lax.fori_loop(0, len(arrays[0]) // size, add, jnp.zeros(part.shape, part.dtype))


def _cut(arrays: Sequence[Array], i: Array, size: int) -> list[Array]:
  return [lax.dynamic_slice_in_dim(array, i * size, size) for array in arrays]
