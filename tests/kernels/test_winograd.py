"""Winograd's convolution: exact in exact arithmetic, and its loss in float32 is bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.convolutions import assert_close, draw, sharded, stock, value_and_gradients

from jaxmu.kernels import blocking, winograd
from jaxmu.kernels.conv import conv

EDGE = ((1, 1), (1, 1))


def fast(padding):
  return lambda x, k: conv(x, k, (1, 1), padding, "winograd")


def plain(padding):
  return lambda x, k: stock(x, k, (1, 1), padding)


SHAPES = [
  ((2, 4, 4, 3), EDGE),  # one tile, no overlap
  ((2, 8, 8, 3), EDGE),
  ((2, 1, 2, 3), EDGE),  # less than a tile
  ((2, 5, 9, 3), EDGE),  # tiles that stick out
  ((2, 7, 6, 3), ((0, 0), (0, 0))),
  ((2, 6, 5, 3), ((2, 0), (0, 1))),
  ((2, 4, 4, 3), ((3, 4), (5, 2))),  # more padding than the kernel reaches over: gradients cut it
]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("image", "padding"), SHAPES, ids=str)
def test_values_and_both_gradients_equal_the_stock_convolution(x64, image, padding, devices):
  xs, ks = draw((2, *image), 0), draw((2, 3, 3, 3, 5), 1)
  run = lambda convolve: (
    lambda *pairs: lax.map(lambda pair: value_and_gradients(convolve(padding), *pair), pairs)
  )
  assert_close(sharded(run(fast), devices)(xs, ks), jax.jit(run(plain))(xs, ks))


@pytest.mark.parametrize(
  ("batch", "limit", "within", "near"),
  [
    (64, 640, 64, 64),
    (256, 64, 64, 64),
    (67, 64, 1, 67),
    (253, 64, 23, 23),
    (6, 5, 3, 6),
    (5, 0, 1, 1),
  ],
)
def test_parts_divide_the_batch(batch, limit, within, near):
  images = jnp.zeros((batch, 2), jnp.float32)
  assert blocking.images_within(images, 8 * limit) == within
  assert blocking.images_near(images, 8 * limit + 7) == near


@pytest.mark.parametrize(("fitting", "loops"), [(12, False), (4, True), (5, True), (0, True)])
def test_batches_are_computed_in_parts_that_fit_the_cache(x64, monkeypatch, fitting, loops):
  x, k = draw((12, 5, 4, 2), 0), draw((3, 3, 2, 3), 1)
  monkeypatch.setattr(winograd, "PART", fitting * 5 * 4 * 3 * 8)  # dy's images, the larger ones
  run = lambda x, k: value_and_gradients(fast(EDGE), x, k)
  assert ("length" in str(jax.make_jaxpr(run)(x, k))) == loops
  assert_close(jax.jit(run)(x, k), value_and_gradients(plain(EDGE), x, k))


def test_float32_loses_less_than_a_digit_to_a_plain_sum():
  """Errors of the values and both gradients, beside those of the stock convolution."""
  rng = np.random.default_rng(0)
  x, k = rng.standard_normal((16, 8, 8, 64)), rng.standard_normal((3, 3, 64, 64))

  def results(convolve, dtype):
    run = jax.jit(lambda x, k: value_and_gradients(convolve(EDGE), x, k))
    with jax.enable_x64(True):
      return [np.asarray(each, np.float64) for each in run(x.astype(dtype), k.astype(dtype))]

  exact = results(plain, np.float64)
  error = lambda found: [
    np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)) for a, b in zip(found, exact)
  ]
  assert max(error(results(fast, np.float64))) < 1e-14
  for mine, theirs in zip(error(results(fast, np.float32)), error(results(plain, np.float32))):
    assert mine < min(1e-6, 8 * theirs)


def test_half_precision_is_left_to_the_canonical_way():
  x, k = draw((2, 4, 4, 3), 0).astype(jnp.bfloat16), draw((3, 3, 3, 5), 1).astype(jnp.bfloat16)
  by = lambda how: value_and_gradients(lambda x, k: conv(x, k, (1, 1), EDGE, how), x, k)
  for a, b in zip(by("winograd"), by("canonical")):
    np.testing.assert_array_equal(a, b)


def test_a_sample_does_not_depend_on_the_others_of_its_batch():
  x, k = draw((6, 8, 8, 4), 0), draw((3, 3, 4, 8), 1)
  run = jax.jit(fast(EDGE))
  np.testing.assert_array_equal(run(x, k)[:3], run(jnp.concatenate([x[:3], 9 * x[:3]]), k)[:3])
