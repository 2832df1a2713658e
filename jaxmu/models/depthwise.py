"""Depthwise convolutions: each channel has a kernel of its own.

On a CPU a grouped convolution runs channel by channel, and its gradients inside a loop tens of
times slower still. Here each pass is a sum over the kernel taps that meet real pixels, element by
element, which XLA fuses into one sweep over the map. On other backends the stock convolution is
used.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.errors import ModelError
from jaxmu.models import derivatives
from jaxmu.models.conv import Padding, Pair, live_taps


def depthwise_conv(
  x: Array,
  kernel: Array,
  strides: Pair = (1, 1),
  padding: Padding = ((0, 0), (0, 0)),
  how: str = "auto",
) -> Array:
  """Convolve each channel of x [B, H, W, C] with its kernel of [h, w, 1, C]: [B, H', W', C].

  `how="lax"` is the stock grouped convolution, which "auto" uses on all backends but CPU; every
  other name is that of a dense lowering and means the sum over taps. Raises ModelError for shapes
  that do not fit.
  """
  if x.ndim != 4 or kernel.shape[2:] != (1, x.shape[-1]):
    raise ModelError(
      f"a depthwise convolution with kernel {kernel.shape} needs images [B, H, W, "
      f"{kernel.shape[-1]}], got an array of shape {x.shape}"
    )
  strides, padding = tuple(strides), tuple(map(tuple, padding))
  if how == "lax" or (how == "auto" and jax.default_backend() != "cpu"):
    return lax.conv_general_dilated(
      x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=x.shape[-1],
    )  # fmt: skip
  return derivatives.form(_depthwise)(x, kernel, strides, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x, kernel, strides, padding):
  out, taps = live_taps(x.shape, kernel.shape, strides, padding)
  total = jnp.zeros((x.shape[0], *out, x.shape[3]), x.dtype)
  for tap in taps:
    part = lax.slice(x, *tap.limits) * kernel[tap.place][0]
    total = total + lax.pad(part, jnp.zeros((), part.dtype), tap.edges)
  return total


def _forward(x, kernel, strides, padding):
  return _depthwise(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, residuals, dy):
  x, kernel = residuals
  _, taps = live_taps(x.shape, kernel.shape, strides, padding)
  zero = jnp.zeros((), dy.dtype)
  dx, dkernel = jnp.zeros_like(x), {}
  for tap in taps:
    (_, *starts, _), (_, *stops, _), (_, *steps, _) = tap.limits
    reached = _unpad(dy, tap.edges)
    edges = [
      (start, size - stop, step - 1)
      for start, stop, step, size in zip(starts, stops, steps, x.shape[1:3])
    ]
    dx = dx + lax.pad(reached * kernel[tap.place][0], zero, ((0, 0, 0), *edges, (0, 0, 0)))
    dkernel[tap.place] = jnp.sum(lax.slice(x, *tap.limits) * reached, (0, 1, 2))
  rows, columns, _, channels = kernel.shape
  dead = jnp.zeros((channels,), kernel.dtype)
  stack = [dkernel.get((i, j), dead) for i in range(rows) for j in range(columns)]
  return dx, jnp.stack(stack).reshape(kernel.shape)


_depthwise.defvjp(_forward, _backward)


def _unpad(y, edges):
  """Undo the padding of a tap's products."""
  starts = [low for low, _, _ in edges]
  stops = [size - high for size, (_, high, _) in zip(y.shape, edges)]
  return lax.slice(y, starts, stops)
