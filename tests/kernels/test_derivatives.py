"""Forward-mode derivatives through layers that carry rules of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu import models
from jaxmu.kernels.conv import LOWERINGS, conv
from jaxmu.kernels.pool import max_pool


def arrays(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


@pytest.mark.parametrize("how", LOWERINGS)
def test_tangents_of_a_convolution_are_the_sum_of_two_convolutions(x64, how):
  x, kernel, dx, dkernel = arrays((2, 5, 5, 3), (3, 3, 3, 4), (2, 5, 5, 3), (3, 3, 3, 4))
  run = lambda x, kernel: conv(x, kernel, (2, 2), ((1, 1), (1, 1)), how)
  with models.forward_mode():
    y, dy = jax.jvp(run, (x, kernel), (dx, dkernel))
  np.testing.assert_array_equal(y, run(x, kernel))
  np.testing.assert_allclose(dy, run(dx, kernel) + run(x, dkernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize("case", [(3, 2, 1), (2, 2, 0)], ids=str)
def test_tangents_of_a_max_pool_follow_the_place_that_gradients_go_to(x64, case):
  x, dx = arrays((2, 6, 6, 3), (2, 6, 6, 3))
  x = jnp.round(x)  # ties
  pool = lambda x: max_pool(x, *case)
  with models.forward_mode():
    y, dy = jax.jvp(pool, (x,), (dx,))
  wanted, pull = jax.vjp(pool, x)
  (weights,) = arrays(y.shape)
  np.testing.assert_array_equal(y, wanted)
  np.testing.assert_allclose(jnp.vdot(weights, dy), jnp.vdot(pull(weights)[0], dx), rtol=1e-12)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other backends use stock layers")
def test_only_networks_traced_inside_allow_them():
  module, variables = models.build("cnn", num_classes=3, image_size=8, channels=1, width=4)
  (x,) = arrays((2, 8, 8, 1))
  stats = variables["batch_stats"]
  network = lambda params: models.forward(module, params, stats, x, train=False)[0]
  params = (variables["params"],)
  tangent = lambda: jax.jit(lambda: jax.jvp(network, params, params)).lower()
  with pytest.raises(TypeError, match="custom_vjp"):
    tangent()
  with pytest.raises(ZeroDivisionError), models.forward_mode():
    tangent()
    raise ZeroDivisionError
  with pytest.raises(TypeError, match="custom_vjp"):
    tangent()
