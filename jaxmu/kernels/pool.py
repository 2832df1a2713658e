"""Max-pooling whose gradient is as cheap as its forward pass.

XLA's CPU backend computes the gradient of a stock max-pool by a scatter, about fifteen times slower
than the slices used here.
"""

import functools
import operator
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.kernels import derivatives
from jaxmu.kernels.conv import Choice
from jaxmu.kernels.products import Pair


def max_pool(x: Array, window: int, stride: int, padding: int, how: Choice = "auto") -> Array:
  """Take maxima over square windows of x [B, H, W, C]; padding counts as minus infinity.

  Among equal maxima the gradient goes to the first in row-major order, as in PyTorch. `how="lax"`
  is the stock operation; "auto" uses it on all backends but CPU. Forward-mode derivatives need it,
  or `derivatives.forward_mode`.
  """
  how = how if isinstance(how, str) else "auto"  # a table is about convolutions
  if how == "lax" or (how == "auto" and jax.default_backend() != "cpu"):
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    sizes, steps = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, steps, pads)
  return derivatives.form(_max_pool)(x, x.shape[1:3], window, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool(x: Array, size: Pair, window: int, stride: int, padding: int) -> Array:
  return _max_pool_forward(x, size, window, stride, padding)[0]


def _max_pool_forward(
  x: Array, size: Pair, window: int, stride: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
  # Columns first, then rows: the first row that holds the maximum, and in it the first column, is
  # the first maximum of the window in row-major order.
  inner, column = _line_max(x, 2, window, stride, padding)
  y, row = _line_max(inner, 1, window, stride, padding)
  return y, (column, row)


def _max_pool_backward(
  size: Pair, window: int, stride: int, padding: int, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array]:
  column, row = residuals
  inner = _line_scatter(dy, row, 1, size[0], window, stride, padding)
  return (_line_scatter(inner, column, 2, size[1], window, stride, padding),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _line_max(x: Array, axis: int, window: int, stride: int, padding: int) -> tuple[Array, Array]:
  """Pool along one axis; return the maxima and the place (int8) of the first in its window."""
  out = (x.shape[axis] + 2 * padding - window) // stride + 1
  edges = [(0, 0, 0)] * x.ndim
  edges[axis] = (padding, padding, 0)
  padded = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), edges)
  part_at = lambda i: lax.slice_in_dim(padded, i, i + (out - 1) * stride + 1, stride, axis)
  best = part_at(0)
  place = jnp.zeros(best.shape, jnp.int8)
  for i in range(1, window):
    part = part_at(i)
    larger = (part > best) | (part != part)  # a NaN wins and stays, as in PyTorch
    best, place = jnp.where(larger, part, best), jnp.where(larger, jnp.int8(i), place)
  return best, place


def _line_scatter(
  dy: Array, place: Array, axis: int, size: int, window: int, stride: int, padding: int
) -> Array:
  """Send each gradient of a pooled line back to the pixel that was the maximum."""
  parts = []
  for i in range(window):
    span = (dy.shape[axis] - 1) * stride + 1
    edges = [(0, 0, 0)] * dy.ndim
    edges[axis] = (i - padding, size - (i - padding) - span, stride - 1)
    parts.append(lax.pad(jnp.where(place == i, dy, 0), jnp.zeros((), dy.dtype), edges))
  return functools.reduce(operator.add, parts)
