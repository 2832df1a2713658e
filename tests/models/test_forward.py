"""`forward` calls this package's networks and users' own, and explains what does not fit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu import models
from jaxmu.errors import ModelError

IMAGES = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))


class Plain(nn.Module):
  """A user's network without mode flag or statistics."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(5)(x.reshape(x.shape[0], -1))


class Normed(nn.Module):
  """A user's network with flax's own batch normalisation and the flag `training`."""

  @nn.compact
  def __call__(self, x, training):
    x = nn.BatchNorm(use_running_average=not training)(nn.Conv(4, (3, 3))(x))
    return nn.Dense(5)(x.mean((1, 2)))


class Inverted(nn.Module):
  """A user's network with dropout and the flag `deterministic`."""

  @nn.compact
  def __call__(self, x, deterministic):
    x = nn.Dropout(0.5, deterministic=deterministic)(x.reshape(x.shape[0], -1))
    return nn.Dense(5)(x)


class Flagless(nn.Module):
  """A network whose statistics no flag controls."""

  @nn.compact
  def __call__(self, x):
    x = nn.BatchNorm(use_running_average=True)(x)
    return nn.Dense(5)(x.mean((1, 2)))


class Maps(nn.Module):
  """A network that returns a map instead of logits."""

  @nn.compact
  def __call__(self, x):
    return nn.Conv(4, (3, 3))(x)


class Counting(nn.Module):
  """A network that rounds its logits to whole numbers."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(5)(x.mean((1, 2))).astype(jnp.int32)


class Binary(nn.Module):
  """A network with one logit for two classes."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(1)(x.mean((1, 2)))


class Noisy(nn.Module):
  """A network that draws from a random stream, in one mode or in both."""

  stream: str
  always: bool = False

  @nn.compact
  def __call__(self, x, train):
    x = x.mean((1, 2))
    if train or self.always:
      x += jax.random.normal(self.make_rng(self.stream), x.shape)
    return nn.Dense(5)(x)


def start(module, **options):
  variables = module.init(jax.random.key(1), IMAGES, **options)
  return variables["params"], variables.get("batch_stats", {})


@pytest.fixture(scope="module")
def cnn():
  module, variables = models.build("cnn", num_classes=5, image_size=8, channels=1, width=4)
  return module, variables["params"], variables["batch_stats"]


def test_train_mode_moves_the_statistics_and_eval_mode_keeps_them(cnn):
  module, params, stats = cnn
  run = jax.jit(lambda p, s: models.forward(module, p, s, IMAGES, train=True))
  logits, moved = run(params, stats)
  assert logits.shape == (4, 5)
  assert not np.array_equal(moved["stem"]["norm"]["mean"], stats["stem"]["norm"]["mean"])

  def evaluate(params):
    _, kept = models.forward(module, params, stats, IMAGES, train=False)
    assert kept is stats

  jax.eval_shape(evaluate, params)


def test_masked_batch_equals_the_smaller_batch(cnn):
  module, params, stats = cnn
  padded = jnp.concatenate([IMAGES, jnp.ones_like(IMAGES[:2])])
  mask = jnp.array([1.0, 1, 1, 1, 0, 0])
  run = jax.jit(
    lambda x, mask=None: models.forward(module, params, stats, x, train=True, mask=mask)
  )
  logits, moved = run(padded, mask)
  expected, expected_stats = run(IMAGES)
  np.testing.assert_allclose(logits[:4], expected, atol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, expected_stats)


def test_everything_follows_float64(x64):
  module, variables = models.build("cnn", num_classes=5, image_size=8, channels=1, width=4)
  images = jnp.asarray(IMAGES, jnp.float64)
  out = jax.eval_shape(
    lambda v: models.forward(module, v["params"], v["batch_stats"], images, train=True), variables
  )
  assert {leaf.dtype for leaf in jax.tree.leaves((variables, out))} == {jnp.dtype("float64")}


def test_user_networks_are_called_with_their_own_flag():
  plain = Plain()
  assert not models.takes_mask(plain)
  assert models.takes_mask(models.make("cnn", 5))
  logits, stats = models.forward(plain, *start(plain), IMAGES, train=True, mask=jnp.ones(4))
  assert (logits.shape, stats) == ((4, 5), {})
  normed = Normed()
  params, stats = start(normed, training=False)
  trained, moved = models.forward(normed, params, stats, IMAGES, train=True)
  evaluated, _ = models.forward(normed, params, stats, IMAGES, train=False)
  assert not np.allclose(trained, evaluated)
  assert not np.array_equal(moved["BatchNorm_0"]["mean"], stats["BatchNorm_0"]["mean"])
  inverted = Inverted()
  params, stats = start(inverted, deterministic=True)
  one, two = (
    models.forward(inverted, params, stats, IMAGES, train=True, key=jax.random.key(k))[0]
    for k in (0, 1)
  )
  assert not np.allclose(one, two)


def test_refusals_name_the_reason(cnn):
  module, params, stats = cnn
  call = lambda x, **options: models.forward(module, params, stats, x, train=False, **options)
  with pytest.raises(ModelError, match=r"first convolution reads 1 channels, the images have 3"):
    call(jnp.zeros((4, 8, 8, 3)))
  with pytest.raises(ModelError, match=r"images must be \[batch, height, width, 1\]"):
    call(jnp.zeros((4, 64)))
  with pytest.raises(ModelError, match="needs float, normalised images; got dtype uint8"):
    call(jnp.zeros((4, 8, 8, 1), jnp.uint8))
  with pytest.raises(ModelError, match="does not accept images of shape") as raised:
    models.forward(module, {"stem": params["stem"]}, stats, IMAGES, train=False)
  assert "\n" not in str(raised.value)


def test_refusals_of_user_networks():
  maps = Maps()
  with pytest.raises(ModelError, match=r"must return logits of shape \(4, classes\), got \(4, 8"):
    models.forward(maps, *start(maps), IMAGES, train=False)
  flagless = Flagless()
  with pytest.raises(ModelError, match="needs a mode flag: train, training"):
    models.forward(flagless, *start(flagless), IMAGES, train=True)
  normed = Normed()
  with pytest.raises(ModelError, match="takes no `mask`"):
    models.forward(normed, *start(normed, training=False), IMAGES, train=True, mask=jnp.ones(4))


@pytest.mark.parametrize(
  ("module", "message"),
  [
    (Counting(), "Counting must return logits that are float, got int32"),
    (
      Binary(),
      "Binary has a binary head, one logit per sample; expected a logit for each of at least 2 cl",
    ),
  ],
)
def test_logits_that_no_loss_can_use_are_refused(module, message):
  with pytest.raises(ModelError, match=message):
    models.forward(module, *start(module), IMAGES, train=False)


def test_random_streams_that_nothing_feeds_are_named():
  def call(module, train, key=None):
    params = {"Dense_0": {"kernel": jnp.ones((1, 5)), "bias": jnp.ones(5)}}
    return jax.eval_shape(
      lambda: models.forward(module, params, {}, IMAGES, train=train, key=key)[0]
    )

  key = jax.random.key(0)
  assert call(Noisy("dropout"), True, key).shape == (4, 5)
  with pytest.raises(ModelError, match=r"draws random numbers in train mode .*: give a key"):
    call(Noisy("dropout"), True)
  with pytest.raises(ModelError, match=r"stream 'noise', .* use make_rng\('dropout'\)"):
    call(Noisy("noise"), True, key)
  with pytest.raises(ModelError, match=r"stream 'dropout'.* in eval mode"):
    call(Noisy("dropout", always=True), False)
