"""Samples of an original or a retrained model are augmented by a caller's function."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from support.problems import equal

import jaxmu
from jaxmu.errors import DataError, MethodError

RNG = np.random.default_rng(0)
PIXELS, LABELS = RNG.integers(0, 200, (16, 2, 3, 1)).astype(np.uint8), RNG.integers(0, 2, 16)


class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(2)(x.reshape(len(x), -1))


VARIABLES = Net().init(jax.random.key(0), PIXELS / 255)


def train(pixels=PIXELS, method="retrained", **options):
  sets = {"retain": (pixels[:12], LABELS[:12]), "forget": (pixels[12:], LABELS[12:])}
  options = {"mean": 0.5, "std": 0.25, "num_epochs": 2, "batch_size": 12, "key": 3} | options
  return jaxmu.unlearn(method, Net(), VARIABLES, **sets, **options)


def brighter(images, key):
  return images + np.uint8(7)


def noisy(images, key):
  return images + 20 * jax.random.normal(key, images.shape, dtype=np.float32)


def test_stored_samples_are_augmented_before_they_are_normalised():
  assert equal(train(augment=brighter), train(PIXELS + np.uint8(7)))


def test_every_step_draws_anew_and_equal_keys_equal_numbers():
  assert equal(train(augment=noisy), train(augment=noisy))
  assert not equal(train(augment=noisy), train(augment=noisy, key=4))
  assert not equal(train(augment=noisy), train())


def test_samples_of_any_kind_are_augmented():
  table = RNG.normal(size=PIXELS.shape).astype(np.float32)
  rules = {"mean": None, "std": None, "preprocess": None}
  shift = lambda x, key: x + 1
  assert equal(train(table, augment=shift, **rules), train(table + 1, **rules))


@pytest.mark.parametrize(
  ("augment", "message"),
  [
    (
      lambda images, key: images[:, :1],
      r"augmentation gives .*; expected images of shape \(2, 2, 3",
    ),
    (lambda images: images, "augmentation cannot be applied to uint8 .* TypeError"),
  ],
)
def test_another_shape_and_exceptions_are_refused(augment, message):
  with pytest.raises(DataError, match=message):
    train(augment=augment)


def test_what_is_no_function_is_refused():
  with pytest.raises(MethodError, match="augment must be a function, got 'flip'"):
    train(augment="flip")
  with pytest.raises(MethodError, match="ft has no hyper-parameter 'augment'"):
    train(method="ft", augment=brighter)
