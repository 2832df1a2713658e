"""Hints to the compiler: no value changes, and the compiler does as it is told."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.models.layers import Linear
from jaxmu.models.order import after, anew

SPECIAL = np.array([1.5, -0.0, np.inf, -np.inf, np.nan, 1e-42], np.float32)


@pytest.mark.parametrize("other", SPECIAL)
def test_values_pass_through_bit_by_bit(other):
  values = jnp.asarray(SPECIAL[:5])
  out = jax.jit(after)(values, jnp.full((2, 3), other))
  np.testing.assert_array_equal(np.asarray(out).view(np.uint32), SPECIAL[:5].view(np.uint32))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_types_stay(dtype):
  assert jax.jit(anew)(jnp.ones(3, dtype)).dtype == dtype


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a hint to the CPU compiler")
@pytest.mark.parametrize("again, count", [(lambda x: x, 1), (anew, 2)])
def test_what_is_computed_anew_is_not_merged(again, count):
  apart = jax.jit(lambda x: (jnp.tanh(x), jnp.tanh(again(x)) + 1))
  text = apart.lower(jnp.ones(3)).compile().as_text()
  assert len(set(re.findall(r"%(tanh[\w.]*) =", text))) == count


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a hint to the CPU compiler")
def test_a_linear_layer_is_updated_in_place():
  """Trains two layers in a loop: no copy of a kernel is left in the compiled program."""
  layers = Linear(24), Linear(40)
  x = jax.random.normal(jax.random.key(0), (8, 40))
  params = [
    layer.init(jax.random.key(1), jnp.ones((1, width)))["params"]
    for layer, width in zip(layers, (40, 24))
  ]

  def loss(params):
    y = x
    for layer, own in zip(layers, params):
      y = jnp.tanh(layer.apply({"params": own}, y))
    return jnp.sum(y**2)

  def step(_, params):
    return jax.tree.map(lambda p, g: p - 0.1 * (g + 0.01 * p), params, jax.grad(loss)(params))

  program = jax.jit(lambda params, n: jax.lax.fori_loop(0, n, step, params))
  text = program.lower(params, 3).compile().as_text()
  body = next(part for part in text.split("\n\n") if "ynn" in part or "dot(" in part)
  assert "f32[24,40]" in text
  assert not re.findall(r"= f32\[24,40\]\S* copy\(", body)
