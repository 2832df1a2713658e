"""Hints to the compiler: no value changes, and the compiler does as it is told."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.kernels.compiler_hints import after, anew, transposed
from jaxmu.models import layers, tinyvit

SPECIAL = np.array([1.5, -0.0, np.inf, -np.inf, np.nan, 1e-42], np.float32)


@pytest.mark.parametrize("other", SPECIAL)
def test_values_pass_through_bit_by_bit(other):
  out = jax.jit(after)(jnp.asarray(SPECIAL), jnp.full((2, 3), other))
  np.testing.assert_array_equal(np.asarray(out).view(np.uint32), SPECIAL.view(np.uint32))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_types_stay(dtype):
  assert jax.jit(anew)(jnp.ones(3, dtype)).dtype == dtype


def linear_gradients(x):
  layer = layers.Linear(3)
  params = layer.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
  loss = lambda params, x: jnp.sum(layer.apply({"params": params}, x).astype(jnp.float32))
  return params, *jax.grad(loss, (0, 1))(params, x)


def test_gradients_of_a_linear_layer_keep_the_types_of_their_arrays():
  with jax.numpy_dtype_promotion("standard"):
    params, by_params, by_x = linear_gradients(jnp.ones((2, 4), jnp.bfloat16))
  assert by_x.dtype == jnp.bfloat16 and by_params["kernel"].dtype == jnp.float32
  np.testing.assert_allclose(by_params["kernel"], 2)
  np.testing.assert_allclose(by_x[0].astype(float), params["kernel"].sum(1), rtol=1e-2)


def test_a_linear_layer_takes_no_samples():
  _, by_params, by_x = linear_gradients(jnp.ones((0, 4)))
  assert by_x.shape == (0, 4)
  assert not by_params["kernel"].any()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a hint to the CPU compiler")
@pytest.mark.parametrize("again, count", [(lambda x: x, 1), (anew, 2)])
def test_what_is_computed_anew_is_not_merged(again, count):
  apart = jax.jit(lambda x: (jnp.tanh(x), jnp.tanh(again(x)) + 1))
  text = apart.lower(jnp.ones(3)).compile().as_text()
  assert len(set(re.findall(r"%(tanh[\w.]*) =", text))) == count


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a hint to the CPU compiler")
@pytest.mark.parametrize("hinted", [True, False])
def test_a_hint_lets_kernels_be_updated_in_place(hinted, monkeypatch):
  """Momentum steps in a scan: without the hint each step copies a kernel before it changes it."""
  if not hinted:
    monkeypatch.setattr(layers, "after", lambda value, other: value)
  widths = (16, 24, 40, 3)
  stack = [layers.Linear(width) for width in widths[1:]]
  x = jax.random.normal(jax.random.key(0), (8, widths[0]))
  params = [
    layer.init(jax.random.key(1), jnp.ones((1, width)))["params"]
    for layer, width in zip(stack, widths)
  ]

  def loss(params):
    y = x
    for layer, own in zip(stack, params):
      y = jnp.tanh(layer.apply({"params": own}, y))
    return jnp.sum(y**2)

  def step(carry, _):
    params, momentum = carry
    grads = jax.grad(loss)(params)
    momentum = jax.tree.map(lambda m, g, p: 0.9 * m + g + 0.01 * p, momentum, grads, params)
    return (jax.tree.map(lambda p, m: p - 0.1 * m, params, momentum), momentum), None

  train = jax.jit(lambda params: jax.lax.scan(step, (params, params), None, 3)[0])
  text = train.lower(params).compile().as_text()
  copies = re.findall(r"= f32\[24,40\]\S* copy\(%get-tuple-element", text)
  assert bool(copies) != hinted


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a hint to the CPU compiler")
@pytest.mark.parametrize("turned, contracted", [(transposed, "1"), (jnp.transpose, "0")])
def test_a_transposed_factor_is_not_folded_into_the_product(turned, contracted):
  product = jax.jit(lambda x, dy: turned(jnp.tanh(x)) @ dy)
  x, dy = np.random.default_rng(0).random((256, 64), np.float32), np.ones((256, 256), np.float32)
  program = product.lower(x, dy).compile()
  assert re.findall(r"lhs_contracting_dims=\{(\d)\}", program.as_text()) == [contracted]
  np.testing.assert_allclose(program(x, dy), np.tanh(x).T @ dy, rtol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a hint to the CPU compiler")
@pytest.mark.parametrize("block", [tinyvit.Mlp(), tinyvit.MBConv(0.0)])
def test_kernel_gradients_of_a_block_read_what_the_forward_pass_made(block):
  """No product contracts rows, and no transpose of a wide map computes it once more."""
  x = jax.random.normal(jax.random.key(0), (16, 4, 4, 64))
  train = {} if isinstance(block, tinyvit.Mlp) else {"train": True}
  variables = block.init(jax.random.key(1), x, **train)

  def loss(params):
    y, _ = block.apply({**variables, "params": params}, x, **train, mutable=["batch_stats"])
    return jnp.sum(y**2)

  text = jax.jit(jax.grad(loss)).lower(variables["params"]).compile().as_text()
  assert set(re.findall(r"lhs_contracting_dims=\{(\d)\}", text)) == {"1"}
  wide = re.findall(r"%transpose\S* = f32\[256,256\]\S* fusion\(([^)]*)\)", text)
  assert wide and all("," not in operands for operands in wide)
