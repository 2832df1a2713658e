"""Window attention of TinyViT, padded as published and by an exact short-cut for small maps.

A map smaller than its window is padded with zero vectors, and the padding takes part as keys and
values. After the layer norm all padding is one and the same vector (the norm's bias), so it acts as
ONE key k0 with value v0, whose logit is q k0 plus the logarithm of the summed exponentials of the
position biases that it stands for. This is an identity; at 32 pixels it makes the network eleven
times cheaper. Source: spec data_models 5 (5, 6) and 5.2.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxmu.models.layers import LayerNorm, Linear

SMALL = 49  # pixels of a map whose biases are looked up by a product
INIT_STD = 0.02  # of linear kernels; truncation at 2 would be at a hundred standard deviations


class WindowAttention(nn.Module):
  """Attend within windows of `window` x `window` pixels of x [B, H, W, C]; no residual.

  Normalises its input first. `padded` computes smaller maps as published, with their padding
  (slow: the oracle of the tests); else the short-cut is taken where the map fits one window.
  """

  heads: int
  window: int
  padded: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    batch, height, width, channels = x.shape
    table = self.param(
      "attention_biases", nn.initializers.zeros, (self.heads, self.window**2), x.dtype
    )
    norm, qkv = (
      LayerNorm(param_dtype=x.dtype, name="norm"),
      Linear(3 * channels, INIT_STD, name="qkv"),
    )
    project = lambda tokens: qkv(norm(tokens))
    if max(height, width) <= self.window and not self.padded:
      tokens, rest = x.reshape(-1, channels), None
      if min(height, width) < self.window:
        # Padding is one more row of the product: as a product of its own it costs more in the
        # backward pass, where XLA has no fast way to one row, and the kernel's gradient is a sum.
        tokens = jnp.concatenate([tokens, jnp.zeros((1, channels), x.dtype)])
        projected, padding = jnp.split(project(tokens), [len(tokens) - 1])
        _, k0, v0 = _heads(padding[None], self.heads)
        rest = k0[0, 0], v0[0, 0], padding_bias(table, height, width, self.window)
      else:
        projected = project(tokens)
      q, k, v = _heads(projected.reshape(batch, height * width, -1), self.heads)
      out = attend(q, k, v, position_bias(table, height, width, self.window), rest)
    else:
      tokens = to_windows(x, self.window)
      bias = position_bias(table, self.window, self.window, self.window)
      out = attend(*_heads(project(tokens), self.heads), bias)
      out = from_windows(out, self.window, x.shape)
    return Linear(channels, INIT_STD, name="proj")(out.reshape(x.shape))


def _heads(qkv: Array, heads: int) -> tuple[Array, Array, Array]:
  """Split [G, n, 3 C], laid out [head][q, k, v], into three arrays [G, n, heads, d].

  By `split`, whose gradient joins three arrays; that of three slices pads and adds them.
  """
  parts = jnp.split(qkv.reshape(*qkv.shape[:2], heads, 3, -1), 3, axis=3)
  q, k, v = (jnp.squeeze(part, 3) for part in parts)
  return q, k, v


def attend(
  q: Array,
  k: Array,
  v: Array,
  bias: Array | None = None,
  rest: tuple[Array, Array, Array] | None = None,
) -> Array:
  """Return softmax(q k / sqrt(d) + bias) v, [G, n, heads * d].

  Args:
    q, k, v: [G, n, heads, d].
    bias: [heads, n, n], or None for 0.
    rest: (k0 [heads, d], v0 [heads, d], bias [heads, n]) of one further key, or None.
  """
  scale = q.shape[-1] ** -0.5
  logits = jnp.einsum("gphd,gjhd->ghpj", q, k) * scale
  if bias is not None:
    logits = logits + bias[None]
  if rest is not None:
    k0, v0, bias0 = rest
    extra = jnp.einsum("gphd,hd->ghp", q, k0) * scale + bias0[None]
    logits = jnp.concatenate([logits, extra[..., None]], -1)
  weights = jax.nn.softmax(logits)
  n = k.shape[1]
  out = jnp.einsum("ghpj,gjhd->gphd", weights[..., :n], v)
  if rest is not None:
    out = out + jnp.moveaxis(weights[..., n], 1, 2)[..., None] * v0[None, None]
  return out.reshape(*q.shape[:2], -1)


def to_windows(x: Array, window: int) -> Array:
  """Pad x [B, H, W, C] with zeros at right and bottom; return windows as tokens [G, w * w, C]."""
  down, right = (-size % window for size in x.shape[1:3])
  x = jnp.pad(x, ((0, 0), (0, down), (0, right), (0, 0)))
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height // window, window, width // window, window, channels)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def from_windows(tokens: Array, window: int, shape: tuple[int, ...]) -> Array:
  """Undo `to_windows`: tokens [G, w * w, C] to a map of `shape` [B, H, W, C]."""
  batch, height, width, channels = shape
  rows, columns = -(-height // window), -(-width // window)
  x = tokens.reshape(batch, rows, columns, window, window, channels).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, rows * window, columns * window, channels)[:, :height, :width]


def position_bias(table: Array, height: int, width: int, window: int) -> Array:
  """Look up the biases [heads, n, n] between the n = H W real pixels in a table [heads, w * w].

  On small maps a product with a constant 0/1 matrix: exact, and its gradient is no scatter.
  """
  n = height * width
  if n > SMALL:
    rows, columns = np.indices((height, width)).reshape(2, -1)
    offsets = np.abs(rows[:, None] - rows) * window + np.abs(columns[:, None] - columns)
    return table[:, offsets]
  real, _ = _offset_counts(height, width, window)
  return (table @ real.reshape(-1, n * n).astype(table.dtype)).reshape(-1, n, n)


def padding_bias(table: Array, height: int, width: int, window: int) -> Array:
  """Return log sum exp of the biases from each real pixel to all padding, [heads, n].

  The bias depends on the offset only, so a sum over padding is a sum over offsets with counts.
  """
  _, padding = _offset_counts(height, width, window)  # [w * w, n]
  padding, occurs = padding[None], padding[None] > 0
  largest = jnp.max(jnp.where(occurs, table[:, :, None], -jnp.inf), 1)
  largest = jax.lax.stop_gradient(largest)  # [heads, n]
  shifted = jnp.exp(jnp.where(occurs, table[:, :, None] - largest[:, None], -jnp.inf))
  return largest + jnp.log(jnp.sum(padding.astype(table.dtype) * shifted, 1))


@functools.cache
def _offset_counts(height: int, width: int, window: int) -> tuple[np.ndarray, np.ndarray]:
  """Say which offset lies between pixels, and how often it leads to padding.

  Returns:
    [w * w, n, n], 1 where a pair of real pixels has that offset |rows| * w + |columns|; and
    [w * w, n], the number of padding pixels of the window at that offset from a real pixel.
  """
  rows, columns = np.indices((window, window)).reshape(2, -1)
  offset = np.abs(rows[:, None] - rows) * window + np.abs(columns[:, None] - columns)
  real = (rows < height) & (columns < width)
  one_hot = np.arange(window**2)[:, None, None] == offset[real]  # [w * w, n, all]
  return one_hot[..., real].astype(np.int8), one_hot[..., ~real].sum(-1)
