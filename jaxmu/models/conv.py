"""Convolutions that stay fast inside compiled loops on a CPU.

XLA's CPU backend rewrites convolutions into its fast layout only outside loops (jax issue 12868);
inside a `scan` the gradient of a stock convolution is tens of times slower. Here forward pass,
input gradient and kernel gradient are each written in that layout (NHWC x HWIO -> NHWC,
"canonical") or, on small maps, as matrix products over the kernel taps that meet real pixels
("taps"), or as one product with all patches side by side ("patches": as fast as taps for few
channels, and it compiles in half the time). On other backends the stock convolution is used.
`bench/conv.py` prints the measurements behind the choice.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.errors import ModelError
from jaxmu.models import derivatives

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

CACHE = 2**19  # bytes of one operand that should stay in the cache of a core
NARROW = 576  # longest patch, 3 x 3 x 64, that is worth laying out side by side
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Lowering(NamedTuple):
  """Name how each of the three passes is computed: "canonical", "taps" or "patches"."""

  forward: str
  input_gradient: str
  kernel_gradient: str


LOWERINGS = {
  "canonical": Lowering("canonical", "canonical", "canonical"),
  "taps": Lowering("taps", "taps", "taps"),
  "mixed": Lowering("taps", "taps", "canonical"),
  "patches": Lowering("patches", "patches", "patches"),
}


def lowering(
  image: Sequence[int], kernel: Sequence[int], strides: Pair, padding: Padding, backend: str
) -> str:
  """Choose "lax" or a name in `LOWERINGS` for one convolution, from static shapes.

  Args: image [B, H, W, I], kernel [h, w, I, O], `backend` as `jax.default_backend()` names it.
  """
  if backend != "cpu":
    return "lax"
  if kernel[0] == kernel[1] == 1 and padding == ((0, 0), (0, 0)):
    return "taps"
  largest = max(image[1:3])
  if largest <= 4 and kernel[0] * kernel[1] * kernel[2] <= NARROW:
    return "patches"
  return "taps" if largest <= 2 else "mixed" if largest <= 4 else "canonical"


def conv(
  x: Array,
  kernel: Array,
  strides: Pair = (1, 1),
  padding: Padding = ((0, 0), (0, 0)),
  how: str = "auto",
) -> Array:
  """Convolve x [B, H, W, I] with kernel [h, w, I, O] and return [B, H', W', O].

  `how` pins the lowering; "auto" asks `lowering` when the program is traced. Forward-mode
  derivatives need "lax", or `derivatives.forward_mode`. Raises ModelError for shapes that do not
  fit and for unknown lowerings.
  """
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
    raise ModelError(
      f"a convolution with kernel {kernel.shape} needs images [B, H, W, {kernel.shape[-2]}], "
      f"got an array of shape {x.shape}"
    )
  strides, padding = tuple(strides), tuple(map(tuple, padding))
  if how == "auto":
    how = lowering(x.shape, kernel.shape, strides, padding, jax.default_backend())
  if how == "lax":
    return _canonical(x, kernel, strides, padding)
  if how not in LOWERINGS:
    raise ModelError(f"unknown lowering '{how}'; known: auto, lax, {', '.join(LOWERINGS)}")
  return derivatives.form(_conv)(x, kernel, strides, padding, LOWERINGS[how])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, strides, padding, how):
  return _FORWARD[how.forward](x, kernel, strides, padding)


def _conv_forward(x, kernel, strides, padding, how):
  return _conv(x, kernel, strides, padding, how), (x, kernel)


def _conv_backward(strides, padding, how, residuals, dy):
  x, kernel = residuals
  if how.input_gradient == "canonical":
    dx = _input_gradient(dy, kernel, x.shape, strides, padding)
  else:
    # Linear in each operand, so the transpose is the gradient.
    products = _FORWARD[how.input_gradient]
    (dx,) = jax.linear_transpose(lambda x: products(x, kernel, strides, padding), x)(dy)
  if how.kernel_gradient == "canonical":
    dkernel = _kernel_gradient(dy, x, kernel.shape, strides, padding)
  else:
    products = _FORWARD[how.kernel_gradient]
    (dkernel,) = jax.linear_transpose(lambda k: products(x, k, strides, padding), kernel)(dy)
  return dx, dkernel


_conv.defvjp(_conv_forward, _conv_backward)


def _canonical(x, kernel, strides, padding, lhs_dilation=(1, 1), rhs_dilation=(1, 1)):
  return lax.conv_general_dilated(
    x, kernel, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers=_LAYOUT
  )


def _input_gradient(dy, kernel, image, strides, padding):
  """Convolve dy with the flipped kernel whose channel axes are swapped.

  A stride spreads dy with zeros, for which there is no fast convolution; so pixels with the same
  remainder by the stride are computed together, from the taps that reach them.
  """
  if strides != (1, 1) and image[1] % strides[0] == image[2] % strides[1] == 0:
    rows, columns = image[1] // strides[0], image[2] // strides[1]
    phases = [
      _phase(dy, kernel, (v, h), (rows, columns), strides, padding)
      for v, h in itertools.product(range(strides[0]), range(strides[1]))
    ]
    phases = jnp.stack(phases).reshape(*strides, image[0], rows, columns, image[3])
    return phases.transpose(2, 3, 0, 4, 1, 5).reshape(image)
  pads = []
  for axis in (0, 1):
    low = kernel.shape[axis] - 1 - padding[axis][0]
    spread = (dy.shape[1 + axis] - 1) * strides[axis] + 1
    pads.append((low, image[1 + axis] + kernel.shape[axis] - 1 - spread - low))
  flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
  return _canonical(dy, flipped, (1, 1), tuple(pads), lhs_dilation=strides)


def _phase(dy, kernel, remainder, size, strides, padding):
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
  return _canonical(dy, jnp.swapaxes(part[::-1, ::-1], 2, 3), (1, 1), tuple(pads))


def _kernel_gradient(dy, x, kernel, strides, padding):
  """Convolve x with dy as the kernel: input channels act as batch, the batch as channels.

  In parts of the batch, summed, so that this kernel (dy) stays in a core's cache.
  """
  pads = []
  for axis in (0, 1):
    low = padding[axis][0]
    spread = (dy.shape[1 + axis] - 1) * strides[axis] + 1
    pads.append((low, spread + kernel[axis] - 1 - x.shape[1 + axis] - low))

  def part(x, dy):
    images, weights = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(dy, (1, 2, 0, 3))
    return _canonical(images, weights, (1, 1), tuple(pads), rhs_dilation=strides)

  size = _cached_part(dy)
  if size == len(dy):
    taps = part(x, dy)
  else:
    cut = lambda array, i: lax.dynamic_slice_in_dim(array, i * size, size)
    add = lambda i, total: total + part(cut(x, i), cut(dy, i))
    zero = jnp.zeros((kernel[2], *kernel[:2], kernel[3]), dy.dtype)
    taps = lax.fori_loop(0, len(dy) // size, add, zero)
  return jnp.transpose(taps, (1, 2, 0, 3))


def _cached_part(dy):
  """Return the largest divisor of the batch whose part of dy fits the cache; all if it is tiny."""
  samples = CACHE // (dy.size * dy.dtype.itemsize // len(dy))
  fitting = [d for d in range(1, len(dy) + 1) if len(dy) % d == 0 and d <= samples]
  return fitting[-1] if fitting and fitting[-1] >= 8 else len(dy)


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
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  out_h = (padded.shape[1] - rows) // strides[0] + 1
  out_w = (padded.shape[2] - columns) // strides[1] + 1
  parts = []
  for i, j in itertools.product(range(rows), range(columns)):
    stop = (batch, i + (out_h - 1) * strides[0] + 1, j + (out_w - 1) * strides[1] + 1, channels)
    parts.append(lax.slice(padded, (0, i, j, 0), stop, (1, *strides, 1)))
  patches = jnp.concatenate(parts, -1).reshape(-1, rows * columns * channels)
  return (patches @ kernel.reshape(-1, features)).reshape(batch, out_h, out_w, features)


_FORWARD = {"canonical": _canonical, "taps": _taps, "patches": _patches}
