"""Batch normalisation: PyTorch's statistics, masks, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.errors import ModelError
from jaxmu.models.norm import BatchNorm


def apply(x, variables=None, mask=None):
  module = BatchNorm()
  variables = variables or module.init(jax.random.key(0), x, train=False)
  return module.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])


def test_train_mode_matches_numpy(x64):
  x = np.random.default_rng(0).standard_normal((4, 3, 3, 2)) * 3 + 5
  variables = {
    "params": {"scale": jnp.array([2.0, 0.5]), "bias": jnp.array([1.0, -1.0])},
    "batch_stats": {"mean": jnp.array([0.3, 0.6]), "var": jnp.array([2.0, 3.0])},
  }
  y, updated = apply(jnp.asarray(x), variables)
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  expected = (x - mean) / np.sqrt(var + 1e-5) * [2.0, 0.5] + [1.0, -1.0]
  np.testing.assert_allclose(y, expected, rtol=1e-12)
  stats = updated["batch_stats"]
  np.testing.assert_allclose(stats["mean"], 0.9 * np.array([0.3, 0.6]) + 0.1 * mean, rtol=1e-12)
  unbiased = x.var((0, 1, 2), ddof=1)
  np.testing.assert_allclose(stats["var"], 0.9 * np.array([2.0, 3.0]) + 0.1 * unbiased, rtol=1e-12)


def test_four_values_per_channel_give_factor_four_thirds():
  x = jax.random.normal(jax.random.key(0), (4, 1, 1, 5))
  _, updated = apply(x)
  expected = 0.9 + 0.1 * np.var(np.asarray(x), axis=(0, 1, 2)) * 4 / 3
  np.testing.assert_allclose(updated["batch_stats"]["var"], expected, rtol=1e-5)


def test_eval_mode_uses_and_keeps_the_running_statistics():
  x = jnp.full((1, 1, 1, 1), 7.0)
  variables = {
    "params": {"scale": jnp.array([3.0]), "bias": jnp.array([1.0])},
    "batch_stats": {"mean": jnp.array([5.0]), "var": jnp.array([4.0])},
  }
  y = BatchNorm().apply(variables, x, train=False)
  np.testing.assert_allclose(y, 3.0 * 2.0 / np.sqrt(4.0 + 1e-5) + 1.0, rtol=1e-6)


def test_masked_batch_equals_the_batch_without_padding(x64):
  real = np.random.default_rng(0).standard_normal((3, 2, 2, 4))
  padded = jnp.asarray(np.concatenate([real, np.full((2, 2, 2, 4), 1e3)]))
  mask = jnp.array([1.0, 1, 1, 0, 0])

  def loss(x, mask=None):
    y, updated = apply(x, mask=mask)
    return jnp.sum(jnp.sin(y[:3])), updated["batch_stats"]

  run = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, stats), gradient = run(padded, mask)
  (expected, expected_stats), expected_gradient = run(jnp.asarray(real))
  np.testing.assert_allclose(value, expected, rtol=1e-12)
  np.testing.assert_allclose(gradient[:3], expected_gradient, atol=1e-12)
  np.testing.assert_array_equal(gradient[3:], 0)
  for name in ("mean", "var"):
    np.testing.assert_allclose(stats[name], expected_stats[name], rtol=1e-12)


def test_mask_of_ones_changes_nothing():
  x = jax.random.normal(jax.random.key(0), (4, 2, 2, 3))
  y, updated = apply(x)
  masked, masked_updated = apply(x, mask=jnp.ones(4))
  np.testing.assert_allclose(masked, y, rtol=1e-6, atol=1e-6)
  jax.tree.map(np.testing.assert_allclose, masked_updated, updated)


def test_mask_that_leaves_one_value_stays_finite():
  x = jax.random.normal(jax.random.key(0), (4, 1, 1, 3))
  y, updated = apply(x, mask=jnp.array([1.0, 0, 0, 0]))
  assert jnp.isfinite(y[0]).all()
  assert jnp.isfinite(updated["batch_stats"]["var"]).all()


def test_one_value_per_channel_is_refused_in_train_mode_only():
  x = jnp.ones((1, 1, 1, 3))
  with pytest.raises(ModelError, match=r"more than one value per channel.*\(1, 1, 1, 3\)"):
    apply(x)
  variables = BatchNorm().init(jax.random.key(0), x, train=False)
  assert BatchNorm().apply(variables, x, train=False).shape == x.shape
