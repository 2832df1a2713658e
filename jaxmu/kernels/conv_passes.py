"""The three passes of a convolution, written so that they stay fast inside loops on a CPU.

Forward pass, input gradient and kernel gradient are convolutions NHWC x HWIO -> NHWC ("canonical"),
matrix products over the kernel taps that meet real pixels ("taps"), with all patches side by side
("patches") or with whole images ("dense", see `products.py`), or products of transformed tiles
("winograd", see `winograd.py`). `conv.py` chooses among them.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxmu.kernels import products, winograd
from jaxmu.kernels.blocking import images_within, summed
from jaxmu.kernels.compiler_hints import after
from jaxmu.kernels.products import Padding, Pair, Shape

Way = Callable[[Array, Array, Pair, Padding], Array]  # x, kernel, strides, padding -> y
CACHE = 2**19  # bytes of one operand that should stay in the cache of a core
LAYOUT = ("NHWC", "HWIO", "NHWC")


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
def convolve(x: Array, kernel: Array, strides: Pair, padding: Padding, how: Lowering) -> Array:
  """Convolve x [B, H, W, I] with kernel [h, w, I, O]: [B, H', W', O], each pass as `how` names."""
  return _FORWARD[how.forward](x, kernel, strides, padding)


def _conv_forward(
  x: Array, kernel: Array, strides: Pair, padding: Padding, how: Lowering
) -> tuple[Array, tuple[Array, Array]]:
  return convolve(x, kernel, strides, padding, how), (x, kernel)


def _conv_backward(
  strides: Pair, padding: Padding, how: Lowering, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
  """Return the gradients of image and kernel.

  Sums of products are linear in each operand, so JAX can transpose them, and what it makes are sums
  of products again. What it makes of a convolution has another layout or dilated operands, and is
  slow inside loops: `_input_gradient` and `_kernel_gradient` write that in the fast layout.
  """
  x, kernel = residuals
  way = _FORWARD[how.input_gradient]
  if way in _LINEAR:
    (dx,) = jax.linear_transpose(lambda x: way(x, kernel, strides, padding), x)(dy)
  else:
    dx = _input_gradient(way, dy, kernel, x.shape, strides, padding)
  pointwise = kernel.shape[:2] == (1, 1)
  way = _FORWARD[how.kernel_gradient]
  if pointwise and way is products.by_taps and x.shape[:3] == dy.shape[:3]:
    # Every pixel meets its output: one product of all rows, with the left factor laid out for it.
    rows = lambda images: images.reshape(-1, images.shape[3])
    dkernel = products.kernel_gradient(rows(x), rows(dy)).reshape(kernel.shape)
  elif way in _LINEAR:
    (dkernel,) = jax.linear_transpose(lambda k: way(x, k, strides, padding), kernel)(dy)
  elif how.kernel_gradient == "winograd" and _suits_winograd(kernel, strides):
    dkernel = winograd.kernel_gradient(dy, x, padding)
  else:
    dkernel = _kernel_gradient(dy, x, kernel.shape, strides, padding)
  # A product alone comes last, so that an optimizer can update the kernel in place.
  return dx, after(dkernel, dx) if pointwise else dkernel


convolve.defvjp(_conv_forward, _conv_backward)


def canonical(
  x: Array, kernel: Array, strides: Pair, padding: Padding, rhs_dilation: Pair = (1, 1)
) -> Array:
  """Convolve x [B, H, W, I] with kernel [h, w, I, O], in the layout that is fast on a CPU."""
  return lax.conv_general_dilated(
    x, kernel, strides, padding, rhs_dilation=rhs_dilation, dimension_numbers=LAYOUT
  )


def _input_gradient(
  way: Way, dy: Array, kernel: Array, image: Shape, strides: Pair, padding: Padding
) -> Array:
  """Convolve dy with the flipped kernel whose channel axes are swapped.

  Along one axis, with stride s, T taps and p zeros in front, y[a] = sum over t of x[s a + t - p]
  k[t]. Pixel v thus meets output a through tap t = v + p - s a, and for s = 1

      dx[v] = sum over t of dy[v + p - t] k[t] = sum over u of dy[v + u - (T - 1 - p)] k[T - 1 - u]:

  a convolution of dy with the flipped kernel and T - 1 - p zeros in front; those behind make the
  result as long as the image, and where padding was wide both may be negative, which cuts dy.

  A stride spreads dy with zeros, for which there is no fast convolution; so pixels with the same
  remainder by the stride are computed together, from the taps that reach them.
  """
  if strides != (1, 1) and image[1] % strides[0] == image[2] % strides[1] == 0:
    rows, columns = image[1] // strides[0], image[2] // strides[1]
    phase = lambda v, h: _phase(way, dy, kernel, (v, h), (rows, columns), strides, padding)
    lines = [jnp.stack([phase(v, h) for h in range(strides[1])], 3) for v in range(strides[0])]
    return jnp.stack(lines, 2).reshape(image)

  def edges(axis: int) -> Pair:
    low = kernel.shape[axis] - 1 - padding[axis][0]
    spread = (dy.shape[1 + axis] - 1) * strides[axis] + 1
    return low, image[1 + axis] + kernel.shape[axis] - 1 - spread - low

  pads = edges(0), edges(1)
  flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
  if strides == (1, 1):
    return way(dy, flipped, (1, 1), pads)
  dilated = [(low, high, stride - 1) for (low, high), stride in zip(pads, strides)]
  spread = lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), *dilated, (0, 0, 0)))
  return way(spread, flipped, (1, 1), ((0, 0), (0, 0)))


def _phase(
  way: Way,
  dy: Array,
  kernel: Array,
  remainder: Pair,
  size: Pair,
  strides: Pair,
  padding: Padding,
) -> Array:
  """Return the gradient of the pixels s * n + remainder, [B, *size, I].

  Pixel s n + r meets output a through tap t = s (n - a) + r + p, so t has the remainder of r + p:
  t = first + s m for the `count` taps m = 0, 1 ... Then a = n + shift - m, where shift = (r + p -
  first) / s: the sum that `_input_gradient` derives for stride 1, with `count` taps and `shift`
  zeros in front.
  """

  def line(axis: int) -> tuple[slice, Pair]:
    first = (remainder[axis] + padding[axis][0]) % strides[axis]
    count = len(range(first, kernel.shape[axis], strides[axis]))
    shift = (remainder[axis] + padding[axis][0] - first) // strides[axis]
    low = count - 1 - shift
    pads = low, size[axis] + count - 1 - dy.shape[1 + axis] - low
    return slice(first, None, strides[axis]), pads

  (rows, row_pads), (columns, column_pads) = line(0), line(1)
  part = kernel[rows, columns]
  if 0 in part.shape:
    return jnp.zeros((dy.shape[0], *size, kernel.shape[2]), dy.dtype)
  return way(dy, jnp.swapaxes(part[::-1, ::-1], 2, 3), (1, 1), (row_pads, column_pads))


def _kernel_gradient(dy: Array, x: Array, kernel: Shape, strides: Pair, padding: Padding) -> Array:
  """Convolve x with dy as the kernel: input channels act as batch, the batch as channels.

  Along one axis dk[t] = sum over a of x[s a + t - p] dy[a], and with channels and images

      dk[t, i, o] = sum over a and b of x[b, s a + t - p, i] dy[b, a, o].

  That is a convolution of images [I, H, W, B] with a kernel [H', W', B, O] whose taps lie s pixels
  apart, at stride 1: B is contracted as channels are elsewhere, and the outputs are the taps t, as
  many as the kernel has.

  In parts of the batch, summed, so that both stay in a core's cache. The loop also keeps XLA from
  computing x anew inside the transpose, with strides that no vector unit likes.
  """

  def edges(axis: int) -> Pair:
    low = padding[axis][0]
    # Zeros behind, or pixels cut off there that no tap meets, leave exactly the kernel's taps.
    spread = (dy.shape[1 + axis] - 1) * strides[axis] + 1
    return low, spread + kernel[axis] - 1 - x.shape[1 + axis] - low

  def part(x, dy):
    images, weights = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(dy, (1, 2, 0, 3))
    return canonical(images, weights, (1, 1), (edges(0), edges(1)), rhs_dilation=strides)

  return jnp.transpose(summed(part, _cached_part(x, dy), x, dy), (1, 2, 0, 3))


def _cached_part(x: Array, dy: Array) -> int:
  """Return how many images of each fit the cache; all if that is too few to be worth a loop.

  The batch is what the convolution sums over, so a short part leaves its inner loop little to do.
  """
  size = min(images_within(images, CACHE) for images in (x, dy))
  return size if size >= 8 else len(dy)


def _winograd(x: Array, kernel: Array, strides: Pair, padding: Padding) -> Array:
  way = winograd.convolve if _suits_winograd(kernel, strides) else canonical
  return way(x, kernel, strides, padding)


def _suits_winograd(kernel: Array, strides: Pair) -> bool:
  """Tell whether Winograd's way is known and exact enough: half precision has no digit to lose."""
  return winograd.fits(kernel.shape, strides) and kernel.dtype.itemsize >= 4


_FORWARD: dict[str, Way] = {
  "canonical": canonical,
  "taps": products.by_taps,
  "patches": products.by_patches,
  "dense": products.by_images,
  "winograd": _winograd,
}
_LINEAR = (products.by_taps, products.by_images)  # whose transposes serve as gradients
