"""CT: a transposed network sees transposed images, before and while it trains (methods.md 6.5)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden_rules as rules
from support import problems

from jaxmu import models
from jaxmu.unlearning.ct import transpose_kernels

SQUARE = {"learning_rate": 0.05, "num_epochs": 3, "momentum": 0.9, "weight_decay": 0.01}


class Mixed(nn.Module):
  """A user's network with every kind of leaf that must stay as it is, and a 2x3 kernel."""

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.Conv(4, (3, 3))(x)  # with a bias, unlike this package's networks
    x = nn.BatchNorm(use_running_average=not train)(x)
    x = nn.Conv(4, (2, 3), feature_group_count=4)(x)
    return nn.Dense(4)(nn.LayerNorm()(x.mean((1, 2))))


@pytest.fixture(scope="module")
def mixed():
  params = jax.eval_shape(Mixed().init, jax.random.key(0), jnp.zeros((1, 6, 6, 1)))["params"]
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)


def test_transposing_swaps_the_spatial_axes_of_convolution_kernels_and_nothing_else(mixed):
  turned = transpose_kernels(mixed)
  for name, layer in mixed.items():
    for leaf, before in layer.items():
      after = turned[name][leaf]
      if name.startswith("Conv") and leaf == "kernel":
        assert after.shape == (before.shape[1], before.shape[0], *before.shape[2:])
        for a, b in np.ndindex(after.shape[:2]):
          np.testing.assert_array_equal(after[a, b], before[b, a])
      else:
        np.testing.assert_array_equal(after, before)


def test_transposing_twice_gives_the_weights_back(mixed):
  assert problems.equal(transpose_kernels(transpose_kernels(mixed)), mixed)
  assert not problems.equal(transpose_kernels(mixed), mixed)


def test_a_transposed_resnet18_sees_transposed_images():
  """f_CT(x) = f(x with rows and columns swapped), for random weights and running statistics."""
  variables = models.from_torch("resnet18", rules.resnet18_weights())
  params, stats = (jax.tree.map(jnp.asarray, variables[n]) for n in ("params", "batch_stats"))
  module = models.make("resnet18", 10)
  run = jax.jit(lambda p, x: models.forward(module, p, stats, x, train=False)[0])
  x = jnp.asarray(rules.images("test")[0][:4].transpose(0, 2, 3, 1))
  turned = run(transpose_kernels(params), x)
  np.testing.assert_allclose(turned, run(params, x.swapaxes(1, 2)), atol=1e-5)
  assert np.abs(turned - run(params, x)).max() > 0.1


def test_ct_is_fine_tuning_on_transposed_images_transposed():
  """CT(theta; D_r) = transpose(FT(theta; transposed D_r)) over nine steps, statistics included."""
  with jax.enable_x64(True):
    x, y = problems.samples()
    x = x.astype(np.float64)
    start = problems.weights([1])
    found, legs, _ = problems.run("ct", problems.problem(1, x=x, y=y), start, [1], SQUARE)
    turned = problems.problem(1, x=x.swapaxes(1, 2), y=y)
    wanted, _, _ = problems.run("ft", turned, start, [1], SQUARE)
    assert sum(leg.steps for leg in legs) == 9
    alone = jax.tree.map(lambda leaf: leaf[0], wanted["params"])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    jax.tree.map(lambda a, b: close(a[0], b), found["params"], transpose_kernels(alone))
    jax.tree.map(close, found["batch_stats"], wanted["batch_stats"])
    # The control: neither fine-tuning alone nor transposing afterwards gives the same network.
    plain, _, _ = problems.run("ft", problems.problem(1, x=x, y=y), start, [1], SQUARE)
    for other in (plain["params"], start["params"]):
      assert not np.allclose(found["params"]["stem"]["kernel"], other["stem"]["kernel"], rtol=1e-3)
