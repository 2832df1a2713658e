"""A convolution as matrix products: over kernel taps, over patches, or of whole images.

All take x [B, H, W, I], kernel [h, w, I, O], strides and padding, and return [B, H', W', O]. They
are linear in x and in the kernel, so their transposes are the gradients.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxmu.kernels.compiler_hints import transposed

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Shape = Sequence[int]
Edge = tuple[int, int, int]  # zeros before, behind and between the elements of an axis (`lax.pad`)


class _Reach(NamedTuple):
  """Hold the outputs [first, last) of one axis whose tap meets real pixels [start, stop)."""

  first: int
  last: int
  start: int
  stop: int


def _reach(size: int, out: int, tap: int, stride: int, pad: int) -> _Reach:
  first = max(0, -((tap - pad) // stride))
  last = min(out, (size - 1 + pad - tap) // stride + 1)
  start = first * stride + tap - pad
  return _Reach(first, last, start, start + (last - first - 1) * stride + 1)


class Tap(NamedTuple):
  """Hold one kernel tap: its place (i, j), the pixels it meets and the outputs it reaches.

  `limits` are start, stop and stride of a slice of x [B, H, W, I]; `edges` pad the products with
  them to [B, H', W', O].
  """

  place: Pair
  limits: tuple[Shape, Shape, Shape]
  edges: tuple[Edge, Edge, Edge, Edge]


def live_taps(
  image: Shape, kernel: Shape, strides: Pair, padding: Padding
) -> tuple[Pair, list[Tap]]:
  """Return (H', W') and the taps that meet real pixels; dead ones only ever meet padding.

  Args: shapes of image [B, H, W, I] and kernel [h, w, I, O].
  """
  batch, height, width, channels = image
  out_h = (height + sum(padding[0]) - kernel[0]) // strides[0] + 1
  out_w = (width + sum(padding[1]) - kernel[1]) // strides[1] + 1
  taps = []
  for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
    v = _reach(height, out_h, i, strides[0], padding[0][0])
    h = _reach(width, out_w, j, strides[1], padding[1][0])
    if v.first < v.last and h.first < h.last:
      limits = ((0, v.start, h.start, 0), (batch, v.stop, h.stop, channels), (1, *strides, 1))
      edges = ((0, 0, 0), (v.first, out_h - v.last, 0), (h.first, out_w - h.last, 0), (0, 0, 0))
      taps.append(Tap((i, j), limits, edges))
  return (out_h, out_w), taps


def by_taps(x: Array, kernel: Array, strides: Pair, padding: Padding) -> Array:
  """Sum one matrix product per kernel tap, over the outputs where that tap meets real pixels."""
  _, columns, channels, features = kernel.shape
  out, live = live_taps(x.shape, kernel.shape, strides, padding)
  total = jnp.zeros((x.shape[0], *out, features), x.dtype)
  taps = _split(kernel)
  for tap in live:
    patch = lax.slice(x, *tap.limits)
    weights = taps[tap.place[0] * columns + tap.place[1]]
    part = (patch.reshape(-1, channels) @ weights).reshape(*patch.shape[:3], features)
    total = total + lax.pad(part, jnp.zeros((), part.dtype), tap.edges)
  return total


def kernel_gradient(x: Array, dy: Array) -> Array:
  """Return x^T dy, [I, O]: the gradient of the kernel that maps rows x [R, I] to [R, O]."""
  return transposed(x) @ dy


def by_patches(x: Array, kernel: Array, strides: Pair, padding: Padding) -> Array:
  """Lay the patch of every output pixel out as a row, and multiply once."""
  batch, _, _, channels = x.shape
  rows, columns, _, features = kernel.shape
  edges = [(low, high, 0) for low, high in ((0, 0), *padding, (0, 0))]
  padded = lax.pad(x, jnp.zeros((), x.dtype), edges)  # gradients may cut edges: negative padding
  out_h = (padded.shape[1] - rows) // strides[0] + 1
  out_w = (padded.shape[2] - columns) // strides[1] + 1
  parts = []
  for i, j in itertools.product(range(rows), range(columns)):
    stop = (batch, i + (out_h - 1) * strides[0] + 1, j + (out_w - 1) * strides[1] + 1, channels)
    parts.append(lax.slice(padded, (0, i, j, 0), stop, (1, *strides, 1)))
  patches = jnp.concatenate(parts, -1).reshape(-1, rows * columns * channels)
  return (patches @ kernel.reshape(-1, features)).reshape(batch, out_h, out_w, features)


def by_images(x: Array, kernel: Array, strides: Pair, padding: Padding) -> Array:
  """Multiply whole images with the one matrix [H W I, H' W' O] that a convolution is.

  Only where every pixel meets every output, so that the matrix holds no zeros; else `by_taps`.
  """
  batch, height, width, _ = x.shape
  out, live = live_taps(x.shape, kernel.shape, strides, padding)
  if sum(map(_pairs, live)) < height * width * math.prod(out):
    return by_taps(x, kernel, strides, padding)
  taps = _split(kernel)
  meetings = _meetings((height, width), kernel.shape, strides, padding, out)
  matrix = jnp.concatenate([jnp.concatenate([taps[t] for t in row], 1) for row in meetings])
  return (x.reshape(batch, -1) @ matrix).reshape(batch, *out, kernel.shape[3])


def _pairs(tap: Tap) -> int:
  """Count the pairs of a pixel and an output that meet through a tap."""
  (_, *starts, _), (_, *stops, _), (_, *steps, _) = tap.limits
  return math.prod(len(range(*limits)) for limits in zip(starts, stops, steps))


def _meetings(
  image: Shape, kernel: Shape, strides: Pair, padding: Padding, out: Pair
) -> np.ndarray:
  """Return the number of the tap through which each pixel reaches each output, [H W, H' W']."""
  tap_at = np.empty((*image, *out), int)
  for a, b, i, j in itertools.product(*map(range, (*out, *kernel[:2]))):
    v, h = a * strides[0] + i - padding[0][0], b * strides[1] + j - padding[1][0]
    if 0 <= v < image[0] and 0 <= h < image[1]:
      tap_at[v, h, a, b] = i * kernel[1] + j
  return tap_at.reshape(math.prod(image), -1)


def _split(kernel: Array) -> list[Array]:
  """Return the taps of a kernel, row by row, each [I, O].

  By `split`, because its transpose is one concatenation, where that of indexing adds padded arrays.
  """
  count = kernel.shape[0] * kernel.shape[1]
  taps = lax.split(kernel.reshape(count, *kernel.shape[2:]), (1,) * count)
  return [tap[0] for tap in taps]
