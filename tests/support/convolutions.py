"""What tests of convolutions share: draws, the stock operation, both gradients, comparison."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def draw(shape, seed):
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def stock(x, kernel, strides, padding):
  return lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def value_and_gradients(function, x, kernel, seed=2):
  y, pullback = jax.vjp(function, x, kernel)
  return y, *pullback(draw(y.shape, seed).astype(y.dtype))


def assert_close(actual, expected, tolerance=1e-12):
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(jnp.abs(b).max()))


def sharded(function, devices):
  """Return a compiled program that splits its arguments' first axis, as the engine makes it."""
  mesh = jax.make_mesh((devices,), ("models",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec("models")
  return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
