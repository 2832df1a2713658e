"""Window attention: against loops as published, and the short-cut against the padded path."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.models.attention import (
  WindowAttention,
  from_windows,
  padding_bias,
  position_bias,
  to_windows,
)

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

HEADS, CHANNELS = 2, 8
# Height, width, window. The first three are TinyViT's at 32 pixels.
SMALL = [(4, 4, 7), (2, 2, 14), (1, 1, 7), (3, 5, 7), (7, 2, 7), (6, 7, 7)]
WHOLE = [(7, 7, 7), (14, 14, 7), (9, 5, 7), (3, 8, 7)]


def draw(shape, seed):
  return np.random.default_rng(seed).standard_normal(shape)


def setting(height, width, window, batch=2):
  """Return parameters, every one of them random, and a map."""
  x = draw((batch, height, width, CHANNELS), 0)
  shapes = jax.eval_shape(WindowAttention(HEADS, window).init, jax.random.key(0), x)["params"]
  leaves, tree = jax.tree.flatten(shapes)
  values = [draw(leaf.shape, seed) for seed, leaf in enumerate(leaves, 1)]
  return jax.tree.unflatten(tree, values), x


def loops(params, x, window):
  """Attend as published: zero padding, window by window, head by head, query by query."""
  rows, columns = (-(-size // window) * window for size in x.shape[1:3])
  padded = np.zeros((len(x), rows, columns, CHANNELS))
  padded[:, : x.shape[1], : x.shape[2]] = x
  out = np.zeros_like(padded)
  for image, top, left in itertools.product(
    range(len(x)), range(0, rows, window), range(0, columns, window)
  ):
    place = image, slice(top, top + window), slice(left, left + window)
    out[place] = one_window(params, padded[place].reshape(-1, CHANNELS), window)
  return out[:, : x.shape[1], : x.shape[2]]


def one_window(params, tokens, window):
  norm, qkv, proj = params["norm"], params["qkv"], params["proj"]
  centred = tokens - tokens.mean(1, keepdims=True)
  tokens = centred / np.sqrt(tokens.var(1, keepdims=True) + 1e-5) * norm["scale"] + norm["bias"]
  parts = (tokens @ qkv["kernel"] + qkv["bias"]).reshape(-1, HEADS, 3, CHANNELS // HEADS)
  found = np.zeros((len(tokens), HEADS, CHANNELS // HEADS))
  for head, query in np.ndindex(HEADS, len(tokens)):
    q, keys, values = parts[query, head, 0], parts[:, head, 1], parts[:, head, 2]
    biases = [params["attention_biases"][head, offset(query, k, window)] for k in range(len(keys))]
    logits = keys @ q / np.sqrt(len(q)) + biases
    weights = np.exp(logits - logits.max())
    found[query, head] = weights @ values / weights.sum()
  out = found.reshape(-1, CHANNELS) @ proj["kernel"] + proj["bias"]
  return out.reshape(window, window, CHANNELS)


def offset(p, j, window):
  (row, column), (other_row, other_column) = divmod(p, window), divmod(j, window)
  return abs(row - other_row) * window + abs(column - other_column)


def close(found, wanted, tolerance=1e-12):
  scale = max(1.0, float(np.abs(wanted).max()))
  np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


def apply(window, padded=False):
  module = WindowAttention(HEADS, window, padded)
  return lambda params, x: module.apply({"params": params}, x)


@pytest.mark.parametrize(("height", "width", "window"), [*SMALL, *WHOLE])
def test_attention_equals_loops(height, width, window):
  params, x = setting(height, width, window, batch=1)
  close(jax.jit(apply(window))(params, x), loops(params, x, window))


@pytest.mark.parametrize(("height", "width", "window"), SMALL)
def test_short_cut_equals_the_padded_path(height, width, window):
  """Values, and gradients of the map and of every parameter."""
  params, x = setting(height, width, window)
  weights = draw(x.shape, 99)

  @jax.jit
  def both(params, x):
    run = lambda padded: jax.vjp(apply(window, padded), params, x)
    return [(value, *pull(jnp.asarray(weights))) for value, pull in (run(False), run(True))]

  found, wanted = both(params, x)
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    assert a.shape == b.shape
    close(a, b)
    assert np.abs(b).max() > 1e-3  # each gradient is there


@pytest.mark.parametrize(("height", "width", "window"), WHOLE)
def test_maps_of_whole_windows_and_larger_ones_have_one_path(height, width, window):
  params, x = setting(height, width, window, batch=1)
  program = lambda padded: str(jax.make_jaxpr(apply(window, padded))(params, x))
  if (height, width) == (window, window):
    close(apply(window)(params, x), apply(window, True)(params, x))
  else:
    assert program(False) == program(True)


@pytest.mark.parametrize(("size", "window"), [(28, 7), (28, 14), (14, 14), (7, 7), (56, 7)])
def test_shapes_at_224_pixels(size, window):
  image = jax.ShapeDtypeStruct((2, size, size, CHANNELS), jnp.float32)
  for padded in (False, True):
    module = WindowAttention(HEADS, window, padded)
    out, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), image)
    assert (out.shape, out.dtype) == (image.shape, image.dtype)
    assert variables["params"]["attention_biases"].shape == (HEADS, window**2)


@pytest.mark.parametrize(("height", "width", "window"), [*SMALL, (2, 3, 3), (5, 5, 5)])
def test_biases_between_pixels_and_to_padding_equal_loops(height, width, window):
  table = draw((HEADS, window**2), 0)
  pixels = [r * window + c for r in range(height) for c in range(width)]
  rest = sorted(set(range(window**2)) - set(pixels))
  looked_up = lambda head, keys: [[table[head, offset(p, j, window)] for j in keys] for p in pixels]
  wanted = np.array([looked_up(head, pixels) for head in range(HEADS)])
  np.testing.assert_array_equal(position_bias(table, height, width, window), wanted)
  if rest:
    wanted = np.log(np.exp([looked_up(head, rest) for head in range(HEADS)]).sum(-1))
    close(padding_bias(table, height, width, window), wanted)


def test_biases_of_padding_stay_finite_where_exponentials_do_not():
  """Large biases, and offsets that lead to no padding at all: finite values and gradients."""
  table = 1e4 * draw((HEADS, 49), 0)
  value, slope = jax.value_and_grad(lambda t: jnp.sum(padding_bias(t, 6, 7, 7)))(table)
  assert np.isfinite(value)
  assert np.isfinite(slope).all()
  np.testing.assert_allclose(slope.sum(), HEADS * 6 * 7, rtol=1e-12)  # each sums a softmax
  one_row_down = slope.reshape(HEADS, 7, 7)[:, 0]  # the padding is the last row: never offset 0
  np.testing.assert_array_equal(one_row_down, 0)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 7), (9, 5), (1, 1)])
def test_windows_there_and_back(height, width):
  x = draw((2, height, width, 3), 0)
  tokens = to_windows(jnp.asarray(x), 7)
  assert tokens.shape == (2 * -(-height // 7) * -(-width // 7), 49, 3)
  np.testing.assert_array_equal(tokens[0, 0], x[0, 0, 0])
  assert float(jnp.sum(tokens != 0)) == x.size  # the rest is zero padding
  np.testing.assert_array_equal(from_windows(tokens, 7, x.shape), x)
