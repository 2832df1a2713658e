"""The three passes of a convolution, written so that they stay fast inside loops on a CPU.

Forward pass, input gradient and kernel gradient are convolutions NHWC x HWIO -> NHWC ("canonical"),
matrix products over the kernel taps that meet real pixels ("taps"), one product with all patches
side by side ("patches"), one with whole images ("dense"), or products of transformed tiles
("winograd", see `winograd.py`). `conv.py` chooses among them.
"""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmu.models import winograd
from jaxmu.models.batch_parts import images_within, summed
from jaxmu.models.order import after

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

CACHE = 2**19  # bytes of one operand that should stay in the cache of a core
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Lowering(NamedTuple):
  """Name how each of the three passes is computed: a key of `_FORWARD`.

  Where "winograd" does not suit a kernel, stride or type, it stands for "canonical", and "dense"
  for "taps" where a pixel and an output do not meet.
  """

  forward: str
  input_gradient: str
  kernel_gradient: str


LOWERINGS = {
  "canonical": Lowering("canonical", "canonical", "canonical"),
  "taps": Lowering("taps", "taps", "taps"),
  "mixed": Lowering("taps", "taps", "canonical"),
  "patches": Lowering("patches", "patches", "canonical"),
  "dense": Lowering("dense", "dense", "dense"),
  "winograd": Lowering("winograd", "winograd", "winograd"),
}


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(x, kernel, strides, padding, how):
  return _FORWARD[how.forward](x, kernel, strides, padding)


def _conv_forward(x, kernel, strides, padding, how):
  return convolve(x, kernel, strides, padding, how), (x, kernel)


def _conv_backward(strides, padding, how, residuals, dy):
  x, kernel = residuals
  # Sums of products are linear in each operand, so their transposes are the gradients.
  way = _FORWARD[how.input_gradient]
  if way in _PRODUCTS:
    (dx,) = jax.linear_transpose(lambda x: way(x, kernel, strides, padding), x)(dy)
  else:
    dx = _input_gradient(way, dy, kernel, x.shape, strides, padding)
  way = _FORWARD[how.kernel_gradient]
  if way in _PRODUCTS:
    (dkernel,) = jax.linear_transpose(lambda k: way(x, k, strides, padding), kernel)(dy)
  elif how.kernel_gradient == "winograd" and _suits_winograd(kernel, strides):
    dkernel = winograd.kernel_gradient(dy, x, padding)
  else:
    dkernel = _kernel_gradient(dy, x, kernel.shape, strides, padding)
  # A product alone, so that an optimizer can update the kernel in place.
  pointwise = kernel.shape[:2] == (1, 1)
  return dx, after(dkernel, dx) if pointwise else dkernel


convolve.defvjp(_conv_forward, _conv_backward)


def canonical(x, kernel, strides, padding, rhs_dilation=(1, 1)):
  return lax.conv_general_dilated(
    x, kernel, strides, padding, rhs_dilation=rhs_dilation, dimension_numbers=_LAYOUT
  )


def _input_gradient(convolve, dy, kernel, image, strides, padding):
  """Convolve dy with the flipped kernel whose channel axes are swapped.

  A stride spreads dy with zeros, for which there is no fast convolution; so pixels with the same
  remainder by the stride are computed together, from the taps that reach them.
  """
  if strides != (1, 1) and image[1] % strides[0] == image[2] % strides[1] == 0:
    rows, columns = image[1] // strides[0], image[2] // strides[1]
    phase = lambda v, h: _phase(convolve, dy, kernel, (v, h), (rows, columns), strides, padding)
    lines = [jnp.stack([phase(v, h) for h in range(strides[1])], 3) for v in range(strides[0])]
    return jnp.stack(lines, 2).reshape(image)
  pads = []
  for axis in (0, 1):
    low = kernel.shape[axis] - 1 - padding[axis][0]
    spread = (dy.shape[1 + axis] - 1) * strides[axis] + 1
    pads.append((low, image[1 + axis] + kernel.shape[axis] - 1 - spread - low))
  dilated = [(low, high, stride - 1) for (low, high), stride in zip(pads, strides)]
  flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
  if strides == (1, 1):
    return convolve(dy, flipped, (1, 1), tuple(pads))
  spread = lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), *dilated, (0, 0, 0)))
  return convolve(spread, flipped, (1, 1), ((0, 0), (0, 0)))


def _phase(convolve, dy, kernel, remainder, size, strides, padding):
  """Return the gradient of the pixels s * a + remainder, [B, *size, I]."""
  taps, pads = [], []
  for axis in (0, 1):
    first = (remainder[axis] + padding[axis][0]) % strides[axis]
    count = len(range(first, kernel.shape[axis], strides[axis]))
    shift = (remainder[axis] + padding[axis][0] - first) // strides[axis]
    low = count - 1 - shift
    taps.append(slice(first, None, strides[axis]))
    pads.append((low, size[axis] + count - 1 - dy.shape[1 + axis] - low))
  part = kernel[tuple(taps)]
  if 0 in part.shape:
    return jnp.zeros((dy.shape[0], *size, kernel.shape[2]), dy.dtype)
  return convolve(dy, jnp.swapaxes(part[::-1, ::-1], 2, 3), (1, 1), tuple(pads))


def _kernel_gradient(dy, x, kernel, strides, padding):
  """Convolve x with dy as the kernel: input channels act as batch, the batch as channels.

  In parts of the batch, summed, so that both stay in a core's cache. The loop also keeps XLA from
  computing x anew inside the transpose, with strides that no vector unit likes.
  """
  pads = []
  for axis in (0, 1):
    low = padding[axis][0]
    spread = (dy.shape[1 + axis] - 1) * strides[axis] + 1
    pads.append((low, spread + kernel[axis] - 1 - x.shape[1 + axis] - low))

  def part(x, dy):
    images, weights = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(dy, (1, 2, 0, 3))
    return canonical(images, weights, (1, 1), tuple(pads), rhs_dilation=strides)

  return jnp.transpose(summed(part, _cached_part(x, dy), x, dy), (1, 2, 0, 3))


def _cached_part(x, dy):
  """Return how many images of each fit the cache; all if that is too few to be worth a loop."""
  size = min(images_within(images, CACHE) for images in (x, dy))
  return size if size >= 8 else len(dy)


class _Reach(NamedTuple):
  """Hold the outputs [first, last) of one axis whose tap meets real pixels [start, stop)."""

  first: int
  last: int
  start: int
  stop: int


def _reach(size, out, tap, stride, pad):
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
  limits: tuple
  edges: tuple


def live_taps(image, kernel, strides, padding) -> tuple[Pair, list[Tap]]:
  """Return (H', W') and the taps that meet real pixels; dead ones only ever meet padding."""
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


def _taps(x, kernel, strides, padding):
  """Sum one matrix product per kernel tap, over the outputs where that tap meets real pixels."""
  _, columns, channels, features = kernel.shape
  count = kernel.shape[0] * columns
  out, live = live_taps(x.shape, kernel.shape, strides, padding)
  total = jnp.zeros((x.shape[0], *out, features), x.dtype)
  # `split` because its transpose is one concatenation, where that of indexing adds padded arrays.
  taps = lax.split(kernel.reshape(count, channels, features), (1,) * count)
  for tap in live:
    patch = lax.slice(x, *tap.limits)
    weights = taps[tap.place[0] * columns + tap.place[1]][0]
    part = (patch.reshape(-1, channels) @ weights).reshape(*patch.shape[:3], features)
    total = total + lax.pad(part, jnp.zeros((), part.dtype), tap.edges)
  return total


def _patches(x, kernel, strides, padding):
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


def _dense(x, kernel, strides, padding):
  """Multiply whole images with the one matrix [H W I, H' W' O] that a convolution is.

  Small maps only, where every pixel meets every output: then the matrix holds no zeros.
  """
  batch, _, _, channels = x.shape
  rows, columns, _, features = kernel.shape
  out, meetings = _meetings(x.shape, kernel.shape, strides, padding)
  if (meetings < 0).any():
    return _taps(x, kernel, strides, padding)
  count = rows * columns
  taps = lax.split(kernel.reshape(count, channels, features), (1,) * count)
  matrix = jnp.concatenate([jnp.concatenate([taps[t][0] for t in row], 1) for row in meetings])
  return (x.reshape(batch, -1) @ matrix).reshape(batch, *out, features)


def _meetings(image, kernel, strides, padding) -> tuple[Pair, np.ndarray]:
  """Return (H', W'), and through which tap each pixel reaches each output, [H W, H' W'] or -1."""
  out, live = live_taps(image, kernel, strides, padding)
  tap_at = -np.ones((*image[1:3], *out), int)
  for tap in live:
    (_, *starts, _), (_, *stops, _), (_, *steps, _) = tap.limits
    pixels = [range(*limits) for limits in zip(starts, stops, steps)]
    (v, *_), (h, *_) = tap.edges[1:3]
    for a, b in itertools.product(range(len(pixels[0])), range(len(pixels[1]))):
      tap_at[pixels[0][a], pixels[1][b], v + a, h + b] = tap.place[0] * kernel[1] + tap.place[1]
  return out, tap_at.reshape(image[1] * image[2], -1)


def _winograd(x, kernel, strides, padding):
  way = winograd.convolve if _suits_winograd(kernel, strides) else canonical
  return way(x, kernel, strides, padding)


def _suits_winograd(kernel, strides):
  """Tell whether Winograd's way is known and exact enough: half precision has no digit to lose."""
  return winograd.fits(kernel.shape, strides) and kernel.dtype.itemsize >= 4


_FORWARD = {
  "canonical": canonical,
  "taps": _taps,
  "patches": _patches,
  "dense": _dense,
  "winograd": _winograd,
}
_PRODUCTS = (_taps, _dense)
