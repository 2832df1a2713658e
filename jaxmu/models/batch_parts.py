"""Batches cut into equal parts, so that what is made from a part stays in a core's cache."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax


def images_within(images: Array, limit: int) -> int:
  """Return the largest divisor of the batch whose images take at most `limit` bytes; at least 1."""
  most = max(1, limit // (math.prod(images.shape[1:]) * images.dtype.itemsize))
  return max(d for d in range(1, min(most, len(images)) + 1) if len(images) % d == 0)


def joined(function: Callable, size: int, *arrays: Array) -> Array:
  """Apply `function` to parts of `size` images and put the results together, [B, ...]."""
  if size == len(arrays[0]):
    return function(*arrays)
  part = jax.eval_shape(function, *(array[:size] for array in arrays))
  write = lambda i, out: lax.dynamic_update_slice_in_dim(
    out, function(*_cut(arrays, i, size)), i * size, 0
  )
  whole = jnp.zeros((len(arrays[0]), *part.shape[1:]), part.dtype)
  return lax.fori_loop(0, len(arrays[0]) // size, write, whole)


def summed(function: Callable, size: int, *arrays: Array) -> Array:
  """Apply `function` to parts of `size` images and add up the results."""
  if size == len(arrays[0]):
    return function(*arrays)
  part = jax.eval_shape(function, *(array[:size] for array in arrays))
  add = lambda i, total: total + function(*_cut(arrays, i, size))
  return lax.fori_loop(0, len(arrays[0]) // size, add, jnp.zeros(part.shape, part.dtype))


def _cut(arrays, i, size):
  return [lax.dynamic_slice_in_dim(array, i * size, size) for array in arrays]
