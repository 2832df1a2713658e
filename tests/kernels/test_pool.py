"""Max-pooling equals the stock operation, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmu.kernels.pool import max_pool

CASES = [(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 1, 0), (3, 3, 0)]


def stock(x, window, stride, padding):
  pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
  return lax.reduce_window(
    x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), pads
  )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("size", [(6, 6), (7, 5)], ids=str)
def test_values_and_gradient_equal_the_stock_pool(x64, case, size, ties):
  rng = np.random.default_rng(0)
  shape = (2, *size, 3)
  x = jnp.asarray(rng.integers(0, 2, shape) * 1.0 if ties else rng.standard_normal(shape))

  @jax.jit
  def both(x):
    y, pullback = jax.vjp(lambda x: max_pool(x, *case), x)
    expected, expected_pullback = jax.vjp(lambda x: stock(x, *case), x)
    dy = jax.random.normal(jax.random.key(0), y.shape)
    return (y, expected), (pullback(dy)[0], expected_pullback(dy)[0])

  values, gradients = both(x)
  np.testing.assert_array_equal(*values)
  np.testing.assert_allclose(*gradients, rtol=0, atol=1e-14)


def test_ties_send_the_gradient_to_the_first_maximum_in_row_major_order():
  x = jnp.asarray([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]).reshape(1, 3, 3, 1)
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, 3, 3, 0))))(x).reshape(3, 3)
  np.testing.assert_array_equal(gradient, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_nan_wins_and_stays():
  x = jnp.asarray([[jnp.nan, 5.0], [1.0, 2.0]]).reshape(1, 2, 2, 1)
  assert jnp.isnan(max_pool(x, 2, 2, 0)).all()
  assert jnp.isnan(max_pool(x[:, ::-1, ::-1], 2, 2, 0)).all()


def test_works_under_vmap():
  x = jax.random.normal(jax.random.key(0), (3, 2, 6, 6, 4))
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, 3, 2, 1) ** 2)))
  np.testing.assert_array_equal(jax.vmap(gradient)(x), jnp.stack([gradient(one) for one in x]))


def test_lax_lowering_allows_forward_mode():
  x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
  y, tangent = jax.jvp(lambda x: max_pool(x, 3, 2, 1, "lax"), (x,), (x,))
  np.testing.assert_array_equal(y, tangent)
