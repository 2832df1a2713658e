"""3 x 3 convolutions of stride 1 by Winograd's F(4 x 4, 3 x 3): a quarter of the multiply-adds.

A tile of 4 x 4 outputs depends on 6 x 6 pixels and takes 4 * 4 * 3 * 3 = 144 multiply-adds for each
pair of channels. Here it takes 36, one for each of the values by which a tile is known.

In one dimension (Toom-Cook): the product of two polynomials, a of 4 coefficients and g of 3, has 6
coefficients, so its values at 6 points determine it, and they are products of values of a and g.
Let V_n take n coefficients to the values. Then c = V_6^-1 ((V_3 g) * (V_4 a)), where * multiplies
value by value. As a function of a this is a matrix T with T[t + s, t] = g[s], and its transpose is
what a convolution computes, y[t] = sum over s of d[t + s] g[s]. So for 6 pixels d

    y = T^T d = V_4^T ((V_3 g) * (V_6^-T d)),

in the literature A^T, G and B^T. A second dimension applies the same again to the other axis. The
products for all tiles and all channels are one batch of 36 matrix products; the transforms before
and after are sums of a few slices, along one axis after the other.

The values at a point p and at -p share their even and odd parts, so points come in pairs; 0 is
free, and infinity, where the value is the leading coefficient, as well. The pairs 2/3 and 3/2 keep
the powers that occur in V_6 and its inverse near 1: they lose 2.4 times less to rounding than the
usual 1 and 2. In float32 the error is three to four times that of a plain sum of products.

Source: Lavin and Gray 2016, equations 8 and 13.
"""

import functools
import operator
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxmu.kernels.blocking import images_near, joined, summed
from jaxmu.kernels.products import Padding, Pair

TILE, TAPS = 4, 3  # more outputs a tile need more points, whose powers cost float32 its digits
SIZE = TILE + TAPS - 1
POINTS = np.array([0, 2 / 3, -2 / 3, 3 / 2, -3 / 2])  # and infinity; `_expand` relies on the order
PART = 2**20  # bytes of the images whose transform, 2.25 times as large, should stay in the cache


def fits(kernel: Sequence[int], strides: Pair) -> bool:
  """Tell whether this way is known for a kernel [h, w, I, O] and strides."""
  return tuple(kernel[:2]) == (TAPS, TAPS) and tuple(strides) == (1, 1)


def convolve(x: Array, kernel: Array, strides: Pair, padding: Padding) -> Array:
  """Convolve x [B, H, W, I] with kernel [3, 3, I, O] at strides (1, 1): [B, H', W', O]."""
  weights = _kernel_values(kernel)  # outside the loop over parts: they are the same for all
  size = [x.shape[1 + axis] + sum(padding[axis]) - TAPS + 1 for axis in (0, 1)]
  counts = [_tiles(n) for n in size]

  def part(x):
    y = _outputs(_products(_pixel_values(x, padding, counts), weights), len(x), counts)
    return y[:, : size[0], : size[1]]  # the last tiles may reach beyond the map

  return joined(part, images_near(x, PART), x)


def kernel_gradient(dy: Array, x: Array, padding: Padding) -> Array:
  """Return the gradient [3, 3, I, O] for dy [B, H', W', O] and x [B, H, W, I].

  A tile's outputs A^T ((G g) * (B^T d)) are linear in g, so their transpose takes slopes of the
  outputs to a gradient: G^T ((B^T d) * (A dy)). The sum over tiles is the contraction of a matrix
  product, and can be taken before G^T, which is thus applied once.
  """
  counts = [_tiles(n) for n in dy.shape[1:3]]

  def part(x, dy):
    pixels, slopes = _pixel_values(x, padding, counts), _slope_values(dy, counts)
    return lax.dot_general(pixels, slopes, (((1,), (1,)), ((0,), (0,))))

  values = summed(part, images_near(x, PART), x, dy)
  values = values.reshape(SIZE, SIZE, *values.shape[1:])
  rows = _contract(_FROM_KERNEL.T, list(values), 0)  # [3, 6, I, O], columns first
  return _contract(_FROM_KERNEL.T, [rows[:, i] for i in range(SIZE)], 0)


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return B^T [6, 6], G [6, 3] and A^T [4, 6]: y = A^T ((G g) * (B^T d)) for one row of a tile."""
  at_infinity = lambda terms: np.eye(terms)[-1:]
  values = lambda terms: np.vstack([POINTS[:, None] ** np.arange(terms), at_infinity(terms)])
  from_pixels = np.linalg.inv(values(SIZE)).T
  from_pixels[np.abs(from_pixels) < 1e-12] = 0  # what is left of zeros: `_combine` leaves them out
  return from_pixels, values(TAPS), values(TILE).T


_FROM_PIXELS, _FROM_KERNEL, _TO_OUTPUTS = _matrices()


def _tiles(outputs: int) -> int:
  return -(-outputs // TILE)


def _products(pixels: Array, weights: Array) -> Array:
  """Multiply [36, B * tiles, I] by [36, I, O], value by value.

  The 36 lead in both: so each product is of two matrices that lie in memory row by row, as XLA's
  fast library takes them.
  """
  return lax.dot_general(pixels, weights, (((2,), (1,)), ((0,), (0,))))


def _pixel_values(x: Array, padding: Padding, counts: Sequence[int]) -> Array:
  """Transform x [B, H, W, I] to [36, B * tiles, I]; tiles overlap by two pixels.

  Each transform puts its six values in front, where nothing has to be moved for the products. So of
  the 36 the points along columns, which come second, are the outer ones: "columns first" below.
  """
  rows = _expand(_FROM_PIXELS, _cuts(x, 1, padding[0][0], counts[0]))  # [6, B, tiles, W, I]
  both = _expand(_FROM_PIXELS, _cuts(rows, 3, padding[1][0], counts[1]))
  return both.reshape(SIZE**2, -1, x.shape[-1])


def _cuts(x: Array, axis: int, low: int, count: int) -> list[Array]:
  """Pad an axis to whole tiles, and take the first, second ... sixth pixel of every tile."""
  edges = [(0, 0, 0)] * x.ndim
  edges[axis] = (low, TILE * count + TAPS - 1 - low - x.shape[axis], 0)
  x = lax.pad(x, jnp.zeros((), x.dtype), edges)
  last = TILE * (count - 1) + 1  # behind the start of the last tile
  return [lax.slice_in_dim(x, i, i + last, TILE, axis) for i in range(SIZE)]


def _kernel_values(kernel: Array) -> Array:
  """Transform a kernel [3, 3, I, O] to [36, I, O], columns first."""
  rows = _expand(_FROM_KERNEL, list(kernel))
  both = _expand(_FROM_KERNEL, [rows[:, i] for i in range(TAPS)])
  return both.reshape(SIZE**2, *kernel.shape[2:])


def _slope_values(dy: Array, counts: Sequence[int]) -> Array:
  """Transform dy [B, H', W', O] by the transpose of what made the outputs: [36, B * tiles, O]."""
  batch, height, width, features = dy.shape
  rest = [(0, TILE * n - size, 0) for n, size in zip(counts, (height, width))]
  dy = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *rest, (0, 0, 0)])
  dy = dy.reshape(batch, counts[0], TILE, counts[1], TILE, features)
  rows = _expand(_TO_OUTPUTS.T, [dy[:, :, i] for i in range(TILE)])  # [6, B, tiles, tiles, 4, O]
  both = _expand(_TO_OUTPUTS.T, [rows[..., i, :] for i in range(TILE)])
  return both.reshape(SIZE**2, -1, features)


def _outputs(values: Array, batch: int, counts: Sequence[int]) -> Array:
  """Transform the products [36, B * tiles, O] to whole tiles of outputs, [B, H', W', O]."""
  values = values.reshape(SIZE, SIZE, batch, *counts, -1)  # columns, rows
  # The four outputs of an axis go behind the axis of its tiles: the last step is a reshape alone.
  columns = _contract(_TO_OUTPUTS, list(values), 4)  # [6, B, tiles, tiles, 4, O]
  both = _contract(_TO_OUTPUTS, list(columns), 2)  # [B, tiles, 4, tiles, 4, O]
  return both.reshape(batch, TILE * counts[0], TILE * counts[1], -1)


def _expand(matrix: np.ndarray, parts: Sequence[Array]) -> Array:
  """Multiply by a matrix [6, n]: n arrays to one with a new leading axis of 6.

  Written as sums, which XLA fuses with what makes their terms; a product with a matrix this small
  would be a call of its own. Rows at p and -p hold p^j and (-p)^j, or what the inverse has there:
  they differ in the sign of every second term. Half their sum is the even terms, half their
  difference the odd ones, and each is added up once.
  """
  out = [_combine(matrix[0], parts)]
  for plus, minus in ((matrix[1], matrix[2]), (matrix[3], matrix[4])):
    even, odd = _combine((plus + minus) / 2, parts), _combine((plus - minus) / 2, parts)
    out += [even + odd, even - odd]
  return jnp.stack([*out, _combine(matrix[5], parts)])


def _contract(matrix: np.ndarray, parts: Sequence[Array], axis: int) -> Array:
  """Multiply by a matrix [n, 6] whose columns pair as the rows in `_expand`; the n go to `axis`.

  With a, b the columns of a pair and u, v their arrays, a u + b v = (a + b) (u + v) / 2 +
  (a - b) (u - v) / 2. The sum and the difference of arrays serve all n rows, and half of the
  weights (a + b) / 2 and (a - b) / 2 are zero.
  """
  columns, terms = [matrix[:, 0]], [parts[0]]
  for plus, minus in ((1, 2), (3, 4)):
    for sign in (1, -1):
      columns.append((matrix[:, plus] + sign * matrix[:, minus]) / 2)
      terms.append(parts[plus] + sign * parts[minus])
  weights = np.stack([*columns, matrix[:, 5]], 1)
  return jnp.stack([_combine(row, [*terms, parts[5]]) for row in weights], axis)


def _combine(weights: np.ndarray, parts: Sequence[Array]) -> Array:
  """Add up parts times weights, without those of weight 0."""
  used = [(float(weight), part) for weight, part in zip(weights, parts) if weight]
  terms = [part if weight == 1 else weight * part for weight, part in used]
  return functools.reduce(operator.add, terms)
