"""Samples, keys and weights as users have them: whatever the form, the same model comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import problems
from support.user_networks import SMALL, Stock, Table, ft, initial

import jaxmu
from jaxmu.api import arrays
from jaxmu.data import samples
from jaxmu.engine.population import Population
from jaxmu.training import Task

X, Y = problems.samples()
ROUND = X.astype(jnp.bfloat16).astype(np.float32)[:22]  # what half precision holds as well
LABELS = Y[:22]
PIXELS = np.random.default_rng(0).integers(0, 256, (22, 6, 6, 1)).astype(np.uint8)


class Tensor:
  """A tensor of PyTorch, as far as it is asked."""

  dtype = "torch.bfloat16"

  def __init__(self, values):
    self.values = values

  def detach(self):
    return self

  def cpu(self):
    return self

  def float(self):
    self.dtype = "torch.float32"
    return self

  def numpy(self):
    assert self.dtype != "torch.bfloat16"
    return self.values


class Interface:
  """Something that NumPy can read: a data frame, an image."""

  def __array__(self, dtype=None, copy=None):
    return ROUND


def mapped(folder):
  np.save(folder / "x.npy", ROUND)
  return np.load(folder / "x.npy", mmap_mode="r")


@pytest.fixture(scope="module")
def plain(stock):
  return ft(stock, {}, retain=(ROUND, LABELS), key=jax.random.key(7))


FORMS = {
  "list": lambda folder: ROUND.tolist(),
  "jax": lambda folder: jnp.asarray(ROUND),
  "float64": lambda folder: ROUND.astype("f8"),
  "float16": lambda folder: ROUND.astype("f2"),
  "bfloat16": lambda folder: jnp.asarray(ROUND, jnp.bfloat16),
  "tensor": lambda folder: Tensor(ROUND),
  "interface": lambda folder: Interface(),
  "other strides": lambda folder: np.asfortranarray(ROUND),
  "memory-mapped": mapped,
}


@pytest.mark.parametrize("form", FORMS)
def test_samples_come_in_any_form(form, stock, plain, tmp_path):
  found = ft(stock, {}, retain=(FORMS[form](tmp_path), LABELS), key=7)
  assert problems.equal(found, plain)


def test_a_single_set_is_read_where_it_lies(tmp_path):
  """Of a file larger than memory there is no copy; two sets are joined."""
  path, population = tmp_path / "x.npy", Population(1, devices=(jax.devices("cpu")[0],))
  np.save(path, ROUND)
  x = samples.check_images("x", np.load(path, mmap_mode="r"))
  sets = {"retain": samples.Samples(x, LABELS), "forget": samples.Samples(x[:4], LABELS[:4])}
  place = lambda *needs: arrays.problem(population, Task(Stock(), 4), needs, sets)
  alone, both = place("retain"), place("forget", "retain")
  assert alone.arrays.images.unsafe_buffer_pointer() == x.ctypes.data
  np.testing.assert_array_equal(both.arrays.images, np.concatenate([x[:4], x]))
  np.testing.assert_array_equal(both.index["retain"], np.arange(4, 26)[None])


@pytest.mark.parametrize("seed", [np.int32(7), np.uint8(7)])
def test_a_seed_is_a_key(seed, stock, plain):
  assert problems.equal(ft(stock, {}, retain=(ROUND, LABELS), key=seed), plain)


def test_a_seed_is_a_key_of_a_new_network(stock):
  build = lambda key: jaxmu.models.build("cnn", num_classes=2, image_size=8, width=1, key=key)[1]
  assert problems.equal(build(5), build(jax.random.key(5)))
  assert not problems.equal(build(5), build(None))


@pytest.mark.parametrize("half", [np.float16, jnp.bfloat16])
def test_weights_in_half_precision_are_trained_in_float32_and_come_back_as_they_were(stock, half):
  small = jax.tree.map(lambda leaf: leaf.astype(half), stock)
  large = jax.tree.map(lambda leaf: leaf.astype(np.float32), small)
  found, wanted = (ft(each, {}, retain=(ROUND, LABELS)) for each in (small, large))
  assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(half)}
  assert problems.equal(found, jax.tree.map(lambda leaf: leaf.astype(half), wanted))
  np.testing.assert_array_equal(
    jaxmu.predict(Stock(), small, ROUND), jaxmu.predict(Stock(), large, ROUND)
  )


def test_pixels_are_normalised_on_the_way(stock):
  """By mean and standard deviation, or a function, as if they had been before."""
  mean, std = 0.45, 0.2
  normalise = lambda x: (x.astype(np.float32) / 255 - mean) / std
  wanted = ft(stock, {}, retain=(normalise(PIXELS), LABELS))
  for how in ({"mean": mean, "std": [std]}, {"preprocess": normalise}):
    found = ft(stock, {}, retain=(PIXELS, LABELS), **how)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, wanted)
    np.testing.assert_allclose(
      jaxmu.predict(Stock(), found, PIXELS, **how),
      jaxmu.predict(Stock(), wanted, normalise(PIXELS)),
      atol=1e-4,
    )


def test_one_stored_channel_serves_a_network_of_three():
  rng = np.random.default_rng(1)
  module = jaxmu.models.make("cnn", 4, width=1)
  _, variables = jaxmu.models.build("cnn", num_classes=4, image_size=8, width=1)
  grey = rng.integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
  means, stds = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
  found = jaxmu.predict(module, variables, grey, mean=means, std=stds)
  colour = ((grey / 255 - means) / stds).astype(np.float32)
  np.testing.assert_allclose(found, jaxmu.predict(module, variables, colour), atol=1e-5)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_samples_need_not_be_images_and_networks_may_compute_in_half_precision(dtype):
  rows, variables = X.reshape(-1, 36), initial(Table(dtype), (36,))
  found = jaxmu.unlearn(
    "ngplus",
    Table(dtype),
    variables,
    retain=(rows[:22], Y[:22]),
    forget=(rows[22:32], Y[22:32]),
    **problems.TABLE["ngplus"].small,
  )
  assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
  assert not problems.equal(found, variables)
  logits = jaxmu.predict(Table(dtype), found, rows)
  wanted = Table(dtype).apply(found, rows).astype(jnp.float32)
  np.testing.assert_allclose(logits, wanted, atol=1e-5 if dtype is None else 0.02)


def test_requests_are_prepared_as_well(stock):
  """As `unlearn` does it, on pixels."""
  how = {"mean": 0.5, "std": 0.25, "key": 3}
  rest, gone = (PIXELS[4:], LABELS[4:]), (PIXELS[:4], LABELS[:4])
  (found,) = jaxmu.unlearn_requests(
    "ft", Stock(), stock, retain=rest, requests=[gone], **how, **SMALL
  )
  assert problems.equal(found, ft(stock, {}, retain=rest, forget=gone, **how))
