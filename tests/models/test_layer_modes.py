"""BatchNorm layers that are switched one by one: `train` as a function of a layer's path."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu import models
from jaxmu.models.norm import BatchNorm

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64


@pytest.fixture(autouse=True, scope="module")
def _promotion_of_flax():
  """Flax's layers have float32 parameters, and ask what these and float64 images make."""
  with jax.numpy_dtype_promotion("standard"):
    yield


class Ours(nn.Module):
  """Two of this package's layers."""

  @nn.compact
  def __call__(self, x, train=False, mask=None):
    for name in ("first", "second"):
      x = jnp.tanh(BatchNorm(name=name)(nn.Dense(4)(x), train=train, mask=mask))
    return nn.Dense(5)(x.mean((1, 2)))


class Own(nn.Module):
  """A user's network: flax's layers, told their mode in each of flax's ways; no mask."""

  @nn.compact
  def __call__(self, x, training=False):
    average = not training
    x = nn.BatchNorm(average, momentum=0.8, name="first")(nn.Dense(4)(x))
    x = nn.BatchNorm(axis=(1, 3), name="second")(nn.Dense(4)(jnp.tanh(x)), average)
    x = nn.BatchNorm(use_scale=False, name="third")(x=jnp.tanh(x), use_running_average=average)
    return nn.Dense(5)(x.mean((1, 2)))


NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def images():
  return jax.random.normal(jax.random.key(0), (5, 4, 4, 2), jnp.float64)


@pytest.fixture(scope="module", params=[Ours, Own])
def network(request, images):
  """Return a module and variables whose statistics tell eval from train mode."""
  made = jax.jit(request.param().init)(jax.random.key(1), images)
  rng = np.random.default_rng(0)
  return request.param(), jax.tree.map(lambda leaf: leaf + rng.uniform(0.1, 0.5, leaf.shape), made)


def run(module, variables, x, train, mask=None):
  """Return logits, new statistics and gradients of a smooth function of the logits."""

  def loss(params):
    out = models.forward(module, params, variables["batch_stats"], x, train=train, mask=mask)
    real = out[0] if mask is None else jnp.where(mask[:, None] > 0, out[0], 0)
    return jnp.sum(jnp.sin(real)), out

  (_, (logits, stats)), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
  return logits, stats, grads


@partial(jax.jit, static_argnums=0)
def layered(module, variables, x, flags, mask=None):
  """As `run`, with a traced flag per layer."""
  return run(module, variables, x, lambda path: flags[NAMES.index(path[-1])], mask)


def close(found, wanted):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
  jax.tree.map(compare, found, wanted)


@pytest.mark.parametrize("flag", [False, True])
def test_one_mode_for_all_layers_is_the_mode_of_the_network(network, images, flag):
  """Logits, statistics and gradients; the two modes differ in each."""
  module, variables = network
  wanted = jax.jit(lambda v: run(module, v, images, flag))(variables)
  close(layered(module, variables, images, np.full(3, flag)), wanted)
  for found, other in zip(layered(module, variables, images, np.full(3, not flag)), wanted):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(other))
    assert any(not np.allclose(a, b) for a, b in pairs)


@pytest.mark.parametrize("number", [0, 1])
def test_a_layer_in_train_mode_moves_alone(network, images, number):
  module, variables = network
  _, stats, _ = layered(module, variables, images, np.arange(3) == number)
  for name, before in variables["batch_stats"].items():
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), stats[name], before)
    assert set(jax.tree.leaves(moved)) == {name == NAMES[number]}, name


@pytest.mark.parametrize("flags", [(True, True, True), (True, False, True)])
def test_padded_samples_do_not_count(network, images, flags):
  """Logits of real samples, statistics and gradients are those of the batch without padding."""
  module, variables = network
  padded = jnp.concatenate([images, 7 * jnp.ones_like(images[:2])])
  mask = jnp.array([1.0] * 5 + [0, 0])
  logits, *others = layered(module, variables, padded, np.array(flags), mask)
  wanted, *wanted_others = layered(module, variables, images, np.array(flags))
  close(logits[:5], wanted)
  close(others, wanted_others)


def test_flags_differ_between_the_members_of_a_population(network, images):
  module, variables = network
  flags = np.array([[True, False, False], [False, True, True]])
  together = jax.jit(jax.vmap(lambda f: layered(module, variables, images, f)))(flags)
  for k in (0, 1):
    alone = layered(module, variables, images, flags[k])
    close(jax.tree.map(lambda leaf, k=k: leaf[k], together), alone)
