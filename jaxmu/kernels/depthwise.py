"""Depthwise convolutions: each channel has a kernel of its own.

On a CPU a grouped convolution runs channel by channel, and its gradients inside a loop tens of
times slower still. Here each pass is a sum over the kernel taps that meet real pixels, element by
element, which XLA fuses into one sweep over the map. On other backends the stock convolution is
used.
"""

import itertools
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.errors import ModelError
from jaxmu.kernels import derivatives
from jaxmu.kernels.blocking import images_within
from jaxmu.kernels.conv import Case, Choice, chosen
from jaxmu.kernels.conv_passes import LAYOUT
from jaxmu.kernels.products import Edge, Padding, Pair, Shape, Tap, live_taps

PART = 2**17  # bytes of the images that a step of the gradients reads


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
  case = Case.of(x, kernel, strides, padding)
  how = chosen(how, case)
  if how == "lax" or (how == "auto" and jax.default_backend() != "cpu"):
    grouped = partial(lax.conv_general_dilated, feature_group_count=x.shape[-1])
    return grouped(x, kernel, case.strides, case.padding, dimension_numbers=LAYOUT)
  return derivatives.form(_depthwise)(x, kernel, case.strides, case.padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, strides: Pair, padding: Padding) -> Array:
  out, taps = live_taps(x.shape, kernel.shape, strides, padding)
  total = jnp.zeros((x.shape[0], *out, x.shape[3]), x.dtype)
  for tap in taps:
    part = lax.slice(x, *tap.limits) * _weights(kernel, tap)
    total = total + lax.pad(part, jnp.zeros((), part.dtype), tap.edges)
  return total


def _forward(
  x: Array, kernel: Array, strides: Pair, padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
  return _depthwise(x, kernel, strides, padding), (x, kernel)


def _backward(
  strides: Pair, padding: Padding, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
  """Return both gradients, computed together over parts of the batch that stay in a core's cache.

  Explicit sums over rows, because XLA's own reduction runs one channel at a time. Each step carries
  its part of x and dy in from the step before: a part that is cut in the step itself is cut anew in
  the sum of every tap, which is then not vectorised.
  """
  x, kernel = residuals
  size = images_within(x, PART)
  _, taps = live_taps((size, *x.shape[1:]), kernel.shape, strides, padding)
  cut = lambda i: tuple(lax.dynamic_slice_in_dim(array, i * size, size) for array in (x, dy))

  def step(i, carry):
    sums, (xs, ds), dx = carry
    new = [total + _kernel_rows(xs, ds, tap) for tap, total in zip(taps, sums)]
    part = _input_gradient(ds, kernel, taps, xs.shape)
    return new, cut(i + 1), lax.dynamic_update_slice_in_dim(dx, part, i * size, 0)

  sums = [jnp.zeros_like(dy[:size, 0])] * len(taps)
  start = sums, cut(0), jnp.zeros_like(x)
  sums, _, dx = lax.fori_loop(0, len(dy) // size, step, start)
  found = {tap.place: jnp.sum(total, (0, 1)) for tap, total in zip(taps, sums)}
  dead = jnp.zeros(kernel.shape[3:], x.dtype)
  every = itertools.product(range(kernel.shape[0]), range(kernel.shape[1]))
  return dx, jnp.stack([found.get(place, dead) for place in every]).reshape(kernel.shape)


_depthwise.defvjp(_forward, _backward)


def _kernel_rows(x: Array, dy: Array, tap: Tap) -> Array:
  """Sum the products of one tap over the rows of the map: [B, W', C]."""
  pixels, slopes = lax.slice(x, *tap.limits), _reached(dy, tap.edges)
  rows = sum(pixels[:, row] * slopes[:, row] for row in range(pixels.shape[1]))
  return lax.pad(rows, jnp.zeros((), x.dtype), (tap.edges[0], *tap.edges[2:]))


def _input_gradient(dy: Array, kernel: Array, taps: Sequence[Tap], shape: Shape) -> Array:
  dx = jnp.zeros(shape, dy.dtype)
  for tap in taps:
    (_, *starts, _), (_, *stops, _), (_, *steps, _) = tap.limits
    spread = [
      (start, size - stop, step - 1)
      for start, stop, step, size in zip(starts, stops, steps, shape[1:3])
    ]
    part = _reached(dy, tap.edges) * _weights(kernel, tap)
    dx = dx + lax.pad(part, jnp.zeros((), dy.dtype), ((0, 0, 0), *spread, (0, 0, 0)))
  return dx


def _weights(kernel: Array, tap: Tap) -> Array:
  """Take what a tap multiplies each channel with, [1, 1, 1, C]."""
  return lax.expand_dims(kernel[tap.place][0], (0, 1, 2))


def _reached(y: Array, edges: Sequence[Edge]) -> Array:
  """Take the outputs that a tap reaches: undo the padding of its products."""
  starts = [low for low, _, _ in edges]
  return lax.slice(y, starts, [size - high for size, (_, high, _) in zip(y.shape, edges)])
