"""Every lowering of a convolution equals the stock operation on every shape that is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.convolutions import assert_close, draw, sharded, stock, value_and_gradients

from jaxmu.errors import ModelError
from jaxmu.kernels.conv import conv, lowering
from jaxmu.kernels.conv_passes import LOWERINGS, _cached_part
from jaxmu.models import layers, make

INPUTS = {"resnet18": [(32, 3)], "cnn": [(8, 1), (32, 3)], "tinyvit": [(32, 3)]}
BATCH = 3


def used_convolutions():
  """Trace the networks and return the distinct (image, kernel, strides, padding) they ask for."""
  seen = []

  def record(x, kernel, strides, padding, how):
    seen.append((x.shape, kernel.shape, strides, padding))
    return conv(x, kernel, strides, padding, "lax")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(layers, "conv", record)
    for name, inputs in INPUTS.items():
      for size, channels in inputs:
        image = jax.ShapeDtypeStruct((BATCH, size, size, channels), jnp.float32)
        jax.eval_shape(make(name, 10).init, jax.random.key(0), image)
  return sorted(set(seen))


CONVOLUTIONS = used_convolutions()


def test_the_networks_use_the_expected_convolutions():
  assert len(CONVOLUTIONS) == 29
  assert ((BATCH, 32, 32, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3))) in CONVOLUTIONS
  assert ((BATCH, 32, 32, 3), (3, 3, 3, 32), (2, 2), ((1, 1), (1, 1))) in CONVOLUTIONS
  assert ((BATCH, 1, 1, 512), (3, 3, 512, 512), (1, 1), ((1, 1), (1, 1))) in CONVOLUTIONS


@pytest.mark.parametrize(("image", "kernel", "strides", "padding"), CONVOLUTIONS, ids=str)
def test_values_and_gradients_equal_the_stock_convolution(x64, image, kernel, strides, padding):
  x, k = draw(image, 0), draw(kernel, 1)

  @jax.jit
  def both(x, k):
    auto = value_and_gradients(lambda x, k: conv(x, k, strides, padding), x, k)
    return auto, value_and_gradients(lambda x, k: stock(x, k, strides, padding), x, k)

  assert_close(*both(x, k))


ODD_SHAPES = [
  ((2, 5, 7, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1))),
  ((2, 6, 5, 3), (3, 2, 3, 4), (2, 1), ((1, 1), (0, 0))),
  ((2, 4, 4, 3), (3, 3, 3, 4), (2, 2), ((1, 1), (1, 1))),
  ((2, 5, 5, 3), (3, 3, 3, 4), (2, 2), ((0, 1), (2, 0))),
  ((2, 4, 3, 3), (1, 1, 3, 4), (2, 2), ((0, 0), (0, 0))),
  ((2, 2, 2, 3), (7, 7, 3, 4), (2, 2), ((3, 3), (3, 3))),
  ((2, 2, 2, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1))),
  ((2, 1, 2, 3), (2, 3, 3, 4), (1, 1), ((1, 1), (1, 1))),  # every pixel meets every output
  ((2, 6, 6, 3), (2, 3, 3, 4), (3, 3), ((0, 0), (1, 0))),  # rows that no tap meets
]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("image", "kernel", "strides", "padding"), ODD_SHAPES, ids=str)
def test_each_lowering_holds_for_uneven_shapes(x64, image, kernel, strides, padding, devices):
  """Two models, each in a loop on its device, as the engine runs them."""
  xs, ks = draw((2, *image), 0), draw((2, *kernel), 1)
  run = lambda how: lambda x, k: conv(x, k, strides, padding, how)

  def all_lowerings(x, k):
    return [value_and_gradients(run(how), x, k) for how in LOWERINGS]

  def expected(x, k):
    return value_and_gradients(lambda x, k: stock(x, k, strides, padding), x, k)

  each = lambda function: lambda *pairs: lax.map(lambda pair: function(*pair), pairs)
  wanted = jax.jit(each(expected))(xs, ks)
  for actual in sharded(each(all_lowerings), devices)(xs, ks):
    assert_close(actual, wanted)


@pytest.mark.parametrize("how", LOWERINGS)
def test_each_lowering_works_under_vmap_and_scan(x64, how):
  xs, ks = draw((3, 2, 4, 4, 2), 0), draw((3, 3, 3, 2, 5), 1)
  strides, padding = (2, 2), ((1, 1), (1, 1))
  dy = draw((2, 2, 2, 5), 2)

  def single(convolve):
    def run(x, k):
      y, pullback = jax.vjp(lambda x, k: convolve(x, k, strides, padding), x, k)
      return y, *pullback(dy)

    return run

  fast = single(lambda *arguments: conv(*arguments, how))
  expected = jax.jit(jax.vmap(single(stock)))(xs, ks)
  assert_close(jax.jit(jax.vmap(fast))(xs, ks), expected)
  assert_close(jax.jit(lambda *pair: lax.map(lambda p: fast(*p), pair))(xs, ks), expected)


PARTS = [  # images, how many of them fit the cache, images of a part, strides
  (24, 8, 8, (1, 1)),
  (24, 13, 12, (2, 2)),
  (20, 9, 20, (1, 1)),  # parts of 5 would be tiny
  (17, 16, 17, (2, 2)),
  (9, 0, 9, (1, 1)),
]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("batch", "fitting", "part", "strides"), PARTS)
def test_kernel_gradients_in_parts_of_a_batch(
  x64, monkeypatch, batch, fitting, part, strides, devices
):
  """Two models, on one or two devices; the bytes of a sample and of its output decide on parts."""
  xs, ks = draw((2, batch, 4, 5, 2), 0), draw((2, 3, 3, 2, 3), 1)
  edge, size = ((1, 1), (1, 1)), 4 * 5 if strides == (1, 1) else 2 * 3
  largest = max(4 * 5 * 2, size * 3) * 8
  monkeypatch.setattr("jaxmu.kernels.conv_passes.CACHE", fitting * largest)
  assert _cached_part(xs[0], jnp.zeros((batch, size, 3))) == part

  def gradients(how):
    energy = lambda x, k: jnp.sum(conv(x, k, strides, edge, how) ** 2)
    return lambda pair: jax.grad(energy, (0, 1))(*pair)

  loops = "scan" in str(jax.make_jaxpr(gradients("canonical"))((xs[0], ks[0])))
  assert loops == (part < batch)
  run = sharded(lambda *pair: lax.map(gradients("canonical"), pair), devices)
  assert_close(run(xs, ks), jax.jit(lambda *pair: lax.map(gradients("lax"), pair))(xs, ks))


@pytest.mark.parametrize("how", LOWERINGS)
def test_works_under_shard_map(x64, how):
  mesh = jax.make_mesh((1,), ("models",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec("models")
  xs, ks = draw((1, 2, 3, 3, 2), 0), draw((1, 3, 3, 2, 2), 1)
  energy = lambda how, k, x: jnp.sum(conv(x, k, (1, 1), ((1, 1), (1, 1)), how) ** 2)

  def body(x, k):
    return jax.grad(lambda k: energy(how, k, x[0]))(k[0])[None]

  sharded = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=spec, out_specs=spec))
  expected = jax.jit(jax.grad(lambda k: energy("lax", k, xs[0])))(ks[0])
  assert_close(sharded(xs, ks)[0], expected)


@pytest.mark.parametrize("how", LOWERINGS)
def test_reverse_over_reverse_second_derivative(x64, how):
  x, k = draw((2, 3, 3, 2), 0), draw((3, 3, 2, 2), 1)

  def slope(how):
    energy = lambda k: jnp.sum(jnp.sin(conv(x, k, (1, 1), ((1, 1), (1, 1)), how)))
    return lambda k: jnp.sum(jax.grad(energy)(k) ** 2)

  assert_close(jax.jit(jax.grad(slope(how)))(k), jax.jit(jax.grad(slope("lax")))(k))


def test_lax_lowering_allows_forward_mode(x64):
  x, k = draw((2, 3, 3, 2), 0), draw((3, 3, 2, 2), 1)
  _, tangent = jax.jvp(lambda k: conv(x, k, how="lax"), (k,), (k,))
  assert_close(tangent, conv(x, k, how="lax"))


def test_dead_taps_have_exactly_zero_gradient():
  x, k = draw((3, 1, 1, 4), 0), draw((3, 3, 4, 4), 1)
  gradient = jax.grad(lambda k: jnp.sum(conv(x, k, (1, 1), ((1, 1), (1, 1))) ** 2))(k)
  alive = np.zeros((3, 3), bool)
  alive[1, 1] = True
  np.testing.assert_array_equal(np.any(np.asarray(gradient) != 0, axis=(2, 3)), alive)


def test_lowering_table():
  edge = ((1, 1), (1, 1))
  choose = lambda size, k, padding, backend, channels=128, features=4: lowering(
    (8, size, size, channels), (k, k, channels, features), (1, 1), padding, backend
  )
  assert choose(8, 3, edge, "cpu") == "canonical"
  assert choose(4, 3, edge, "cpu") == "mixed"
  assert choose(2, 3, edge, "cpu") == "taps"
  assert choose(2, 3, edge, "cpu", channels=64) == "dense"
  assert choose(8, 3, edge, "cpu", channels=64) == "canonical"
  assert choose(8, 1, ((0, 0), (0, 0)), "cpu") == "taps"
  assert choose(8, 3, edge, "cpu", features=64) == choose(4, 3, edge, "cpu", features=64)
  assert choose(4, 3, edge, "cpu", features=64) == "winograd"
  assert choose(2, 3, edge, "cpu", features=64) == "taps"
  assert choose(8, 3, edge, "cpu", channels=31, features=64) == "canonical"
  assert choose(8, 3, edge, "gpu", features=64) == "lax"
  assert choose(2, 3, edge, "gpu") == "lax"


def test_errors_name_the_shapes():
  with pytest.raises(ModelError, match=r"needs images \[B, H, W, 3\], got .* \(1, 4, 4, 2\)"):
    conv(jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 3, 8)))
  with pytest.raises(ModelError, match="unknown lowering 'fast'; known: auto, lax, canonical"):
    conv(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 8)), how="fast")
