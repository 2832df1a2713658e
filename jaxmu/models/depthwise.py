"""Depthwise convolutions: each channel has a kernel of its own.

On a CPU a grouped convolution runs channel by channel, and its gradients inside a loop tens of
times slower still. Here each pass is a sum over the kernel taps that meet real pixels, element by
element, which XLA fuses into one sweep over the map. On other backends the stock convolution is
used.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.errors import ModelError
from jaxmu.models import derivatives
from jaxmu.models.conv import Case, Choice, chosen
from jaxmu.models.conv_passes import Padding, Pair, live_taps

PART = 4  # images of a step of the kernel's gradient


def depthwise_conv(
  x: Array,
  kernel: Array,
  strides: Pair = (1, 1),
  padding: Padding = ((0, 0), (0, 0)),
  how: Choice = "auto",
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
  how = chosen(how, Case(x.shape, kernel.shape, strides, padding))
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
  dkernel, dy = _kernel_gradient(x, dy, kernel.shape, strides, padding)
  _, taps = live_taps(x.shape, kernel.shape, strides, padding)
  dx = jnp.zeros_like(x)
  for tap in taps:
    (_, *starts, _), (_, *stops, _), (_, *steps, _) = tap.limits
    spread = [
      (start, size - stop, step - 1)
      for start, stop, step, size in zip(starts, stops, steps, x.shape[1:3])
    ]
    part = _reached(dy, tap.edges) * kernel[tap.place][0]
    dx = dx + lax.pad(part, jnp.zeros((), dy.dtype), ((0, 0, 0), *spread, (0, 0, 0)))
  return dx, dkernel


_depthwise.defvjp(_forward, _backward)


def _kernel_gradient(x, dy, kernel, strides, padding):
  """Return the kernel's gradient, and dy again.

  Sums explicit rows over parts of the batch: XLA's own reduction runs one channel at a time. The
  copy of dy keeps XLA from computing what dy comes from once more for each tap.
  """
  size = max(d for d in range(1, PART + 1) if len(dy) % d == 0)
  _, taps = live_taps((size, *x.shape[1:]), kernel, strides, padding)
  zero = jnp.zeros((), x.dtype)

  def step(i, carry):
    sums, copy = carry
    xs, ds = (lax.dynamic_slice_in_dim(array, i * size, size) for array in (x, dy))
    new = []
    for tap, total in zip(taps, sums):
      pixels, slopes = lax.slice(xs, *tap.limits), _reached(ds, tap.edges)
      rows = sum(pixels[:, row] * slopes[:, row] for row in range(pixels.shape[1]))
      new.append(total + lax.pad(rows, zero, (tap.edges[0], *tap.edges[2:])))
    return new, lax.dynamic_update_slice_in_dim(copy, ds, i * size, 0)

  sums = [jnp.zeros_like(dy[:size, 0])] * len(taps)
  sums, dy = lax.fori_loop(0, len(dy) // size, step, (sums, jnp.zeros_like(dy)))
  found = {tap.place: jnp.sum(total, (0, 1)) for tap, total in zip(taps, sums)}
  dead = jnp.zeros(kernel[3:], x.dtype)
  every = itertools.product(range(kernel[0]), range(kernel[1]))
  return jnp.stack([found.get(place, dead) for place in every]).reshape(kernel), dy


def _reached(y, edges):
  """Take the outputs that a tap reaches: undo the padding of its products."""
  starts = [low for low, _, _ in edges]
  return lax.slice(y, starts, [size - high for size, (_, high, _) in zip(y.shape, edges)])
