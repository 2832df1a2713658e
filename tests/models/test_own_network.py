"""A network of a user's own is made for the data, tried on shapes, and refused in one line."""

import jax
import pytest

from jaxmu import models
from jaxmu.errors import ModelError
from jaxmu.models import own_network

MODULE = """
from typing import Any
import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

class Small(nn.Module):
  num_classes: int
  extra: Any = ()
  @nn.compact
  def __call__(self, x, deterministic):
    x = nn.Dropout(0.5, deterministic=deterministic)(nn.relu(nn.Conv(4, (3, 3))(x)))
    return nn.Dense(self.num_classes)(x.mean((1, 2)))

class Told(nn.Module):
  size: Any
  lowering: Any
  outputs: int
  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.outputs)(x.reshape(len(x), -1))

def told(num_classes, image_size, channels, lowering):
  return Told((image_size, channels), lowering, num_classes)

def three(num_classes): return Small(3)
def nothing(num_classes): return None
def fails(num_classes): raise RuntimeError("no luck")
def lists(num_classes): return Small(num_classes, [1])
def wants(num_classes, depth): return Small(num_classes)
def half(num_classes): return Half()
def counting(num_classes): return Counting(num_classes)
def breaking(num_classes): return Breaking()
def of_nnx(num_classes): return nnx.Linear(2, num_classes, rngs=nnx.Rngs(0))
MADE, NUMBER = Small(4), 7

class Half(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(4, dtype=jnp.float32, param_dtype=jnp.bfloat16)(x.mean((1, 2)))

class Counting(nn.Module):
  num_classes: int
  @nn.compact
  def __call__(self, x):
    self.variable("cache", "n", jnp.zeros, ())
    return nn.Dense(self.num_classes)(x.mean((1, 2)))

class Breaking(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(4)(x.reshape(1, 7))
"""
IMAGE = (6, 8, 1)
WRONG = {
  "three": "three gives 3 logits for an image; expected 4",
  "nothing": "nothing gives None; expected a module of flax.linen",
  "fails": r"fails cannot be used: RuntimeError: no luck \(on_nets.py, line 28\)",
  "lists": "Small has a list, dict or array among its attributes",
  "wants": "wants wants an argument 'depth'; expected only arguments out of num_classes",
  "half": "half has parameters of type bfloat16; expected float32",
  "counting": "counting has the collection 'cache'; expected 'params' and 'batch_stats' alone",
  "breaking": r"breaking cannot be initialised for images of shape \(1, 6, 8, 1\): .*on_nets.py",
  "of_nnx": "of_nnx gives Linear.*one of flax.nnx holds its",
  "MADE": "MADE is a module that is made already; expected its class",
  "NUMBER": "NUMBER is 7; expected a class of flax.linen.Module",
  "Smal": r"has no 'Smal'; did you mean 'Small'\?",
}


@pytest.fixture
def module(own_folder):
  (own_folder / "on_nets.py").write_text(MODULE)


def make(name, image=IMAGE):
  return own_network.make(f"on_nets:{name}", 4, image, "lax")


def test_a_class_and_a_function_make_a_network_for_images_that_are_no_squares(module):
  small = make("Small")
  variables = small.init(jax.random.key(0), jax.numpy.zeros((1, *IMAGE)), True)
  assert models.forward(small, variables["params"], {}, jax.numpy.zeros((2, *IMAGE)), train=False)[
    0
  ].shape == (2, 4)
  assert make("Small", (224, 160, 3)).num_classes == 4


def test_a_function_knows_the_data(module):
  assert make("told").size == ((6, 8), 1) and make("told").lowering == "lax"
  assert make("told", (9, 9, 3)).size == (9, 3)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_network_for_these_data_is_one_line(name, module):
  with pytest.raises(ModelError, match=WRONG[name]) as error:
    make(name)
  assert "\n" not in str(error.value)
