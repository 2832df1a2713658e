"""The depthwise convolution equals the stock grouped one, on every shape that TinyViT uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.convolutions import assert_close, draw

from jaxmu import models
from jaxmu.errors import ModelError
from jaxmu.kernels.depthwise import depthwise_conv
from jaxmu.models import layers

EDGE = ((1, 1), (1, 1))


def used_shapes(batch=8):
  """Trace TinyViT and return the distinct (image, kernel, strides, padding) it asks for."""
  seen = []

  def record(x, kernel, strides, padding, how):
    seen.append((x.shape, kernel.shape, strides, padding))
    return depthwise_conv(x, kernel, strides, padding, "lax")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(layers, "depthwise_conv", record)
    image = jax.ShapeDtypeStruct((batch, 32, 32, 3), jnp.float32)
    jax.eval_shape(models.make("tinyvit", 10).init, jax.random.key(0), image)
  return sorted(set(seen))


USED = used_shapes()
ODD = [
  ((5, 5, 7, 3), (3, 3, 1, 3), (1, 1), EDGE),
  ((6, 6, 5, 3), (3, 2, 1, 3), (2, 1), ((1, 1), (0, 0))),
  ((7, 5, 6, 2), (3, 3, 1, 2), (2, 2), EDGE),
  ((1, 7, 7, 2), (5, 5, 1, 2), (3, 2), ((2, 1), (0, 3))),
  ((9, 3, 4, 2), (1, 1, 1, 2), (2, 2), ((0, 0), (0, 0))),
  ((3, 2, 2, 2), (7, 7, 1, 2), (2, 2), ((3, 3), (3, 3))),
  ((4, 3, 3, 2), (2, 2, 1, 2), (3, 3), ((0, 0), (0, 0))),  # pixels that no tap meets
  ((2, 3, 3, 2), (2, 2, 1, 2), (1, 1), ((2, 2), (2, 2))),  # outputs that meet no pixel
]


def value_and_gradients(x, kernel, strides, padding, how="auto"):
  y, pullback = jax.vjp(lambda *pair: depthwise_conv(*pair, strides, padding, how), x, kernel)
  return y, *pullback(draw(y.shape, 2))


def test_tinyvit_uses_seven_shapes():
  sizes = [(image[1], image[3], strides[0]) for image, _, strides, _ in USED]
  of_blocks = {(8, 256, 1), (4, 128, 1), (2, 256, 1), (1, 448, 1)}
  of_mergings = {(8, 128, 2), (4, 256, 2), (2, 448, 2)}
  assert sorted(sizes) == sorted(of_blocks | of_mergings)
  assert {(kernel[:3], padding) for _, kernel, _, padding in USED} == {((3, 3, 1), EDGE)}


@pytest.mark.parametrize(("image", "kernel", "strides", "padding"), USED + ODD, ids=str)
def test_values_and_gradients_equal_the_stock_convolution(x64, image, kernel, strides, padding):
  x, k = draw(image, 0), draw(kernel, 1)

  @jax.jit
  def both(x, k):
    return [value_and_gradients(x, k, strides, padding, how) for how in ("auto", "lax")]

  assert_close(*both(x, k))


def test_an_explicit_sum(x64):
  """The stock operation itself, once, against loops."""
  x, k = np.asarray(draw((2, 4, 5, 3), 0)), np.asarray(draw((3, 3, 1, 3), 1))
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  wanted = np.zeros((2, 2, 3, 3))
  for i, j in np.ndindex(2, 3):
    patch = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
    wanted[:, i, j] = (patch * k[:, :, 0]).sum((1, 2))
  for how in ("auto", "lax"):
    found = depthwise_conv(jnp.asarray(x), jnp.asarray(k), (2, 2), EDGE, how)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("batch", [1, 2, 3, 6, 8, 10])
def test_any_batch_size(x64, batch):
  x, k = draw((batch, 4, 4, 3), 0), draw((3, 3, 1, 3), 1)
  run = jax.jit(value_and_gradients, static_argnums=(2, 3, 4))
  assert_close(run(x, k, (2, 2), EDGE), run(x, k, (2, 2), EDGE, "lax"))


def test_works_under_vmap_and_scan(x64):
  xs, ks = draw((3, 6, 4, 4, 2), 0), draw((3, 3, 3, 1, 2), 1)
  single = lambda how: lambda x, k: value_and_gradients(x, k, (2, 2), EDGE, how)
  expected = jax.jit(jax.vmap(single("lax")))(xs, ks)
  assert_close(jax.jit(jax.vmap(single("auto")))(xs, ks), expected)
  one_by_one = jax.jit(lambda *pair: jax.lax.map(lambda p: single("auto")(*p), pair))
  assert_close(one_by_one(xs, ks), expected)


@pytest.mark.parametrize("devices", [1, 2])
def test_works_under_shard_map(x64, devices):
  mesh = jax.make_mesh((devices,), ("models",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec("models")
  xs, ks = draw((2, 6, 3, 3, 2), 0), draw((2, 3, 3, 1, 2), 1)

  def gradients(how):
    energy = lambda *pair: jnp.sum(depthwise_conv(*pair, (1, 1), EDGE, how) ** 2)
    return lambda *pair: jax.lax.map(lambda pair: jax.grad(energy, (0, 1))(*pair), pair)

  sharded = jax.shard_map(  # as the engine calls it
    gradients("auto"), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
  )
  assert_close(jax.jit(sharded)(xs, ks), jax.jit(gradients("lax"))(xs, ks))


def test_reverse_over_reverse_second_derivative(x64):
  """Of the sum of squared gradients, with respect to images and kernel."""

  def slope(how):
    energy = lambda *pair: jnp.sum(jnp.sin(depthwise_conv(*pair, (2, 2), EDGE, how)))
    squares = lambda tree: sum(jnp.sum(leaf**2) for leaf in tree)
    return jax.grad(lambda pair: squares(jax.grad(energy, (0, 1))(*pair)))

  pair = draw((6, 4, 5, 2), 0), draw((3, 3, 1, 2), 1)
  assert_close(jax.jit(slope("auto"))(pair), jax.jit(slope("lax"))(pair))


def test_tangents_are_the_sum_of_two_convolutions(x64):
  x, dx, k, dk = (draw(shape, n) for n, shape in enumerate([(2, 5, 5, 3)] * 2 + [(3, 3, 1, 3)] * 2))
  run = lambda x, k: depthwise_conv(x, k, (2, 2), EDGE)
  with models.forward_mode():
    y, dy = jax.jvp(run, (x, k), (dx, dk))
  np.testing.assert_array_equal(y, run(x, k))
  np.testing.assert_allclose(dy, run(dx, k) + run(x, dk), rtol=0, atol=1e-13)


def test_dead_taps_have_exactly_zero_gradient():
  """On a 1x1 map eight of nine taps only ever meet padding."""
  x, k = draw((6, 1, 1, 4), 0), draw((3, 3, 1, 4), 1)
  gradient = jax.grad(lambda k: jnp.sum(depthwise_conv(x, k, (1, 1), EDGE) ** 2))(k)
  alive = np.zeros((3, 3), bool)
  alive[1, 1] = True
  np.testing.assert_array_equal(np.any(np.asarray(gradient) != 0, axis=(2, 3)), alive)


@pytest.mark.parametrize("how", ["auto", "lax"])
@pytest.mark.parametrize(
  ("image", "kernel"),
  [((2, 4, 4, 3), (3, 3, 1, 4)), ((2, 4, 4, 3), (3, 3, 3, 3)), ((4, 4, 3), (3, 3, 1, 3))],
)
def test_errors_name_the_shapes(how, image, kernel):
  message = rf"kernel \(3, 3, {kernel[2]}, {kernel[3]}\) needs images \[B, H, W, {kernel[3]}\], got"
  with pytest.raises(ModelError, match=message):
    depthwise_conv(jnp.zeros(image), jnp.zeros(kernel), how=how)
