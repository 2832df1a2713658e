"""Samples on the host, as compiled programs read them."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.data import on_host
from jaxmu.data.rows import Part, Rows
from jaxmu.data.streams import Order, Pair, Samples

X = np.random.default_rng(0).integers(0, 256, (50, 3, 2), np.uint8)
INDEX = np.random.default_rng(1).integers(0, 50, (4, 6)).astype(np.int32)
REST = np.array([7, 7, 1], np.int32)


def placed(x=X):
  return on_host.place(Rows([Part(x)]), jnp.asarray)


@pytest.fixture(autouse=True, params=[5, 8192])
def piece(request, monkeypatch):
  """Calls of few positions, and of many."""
  monkeypatch.setattr(on_host, "PIECE", request.param)
  return request.param


@pytest.fixture
def visit(piece):
  """A program that returns the images of one pass, batch by batch; a new one for each test."""

  def run(images, full, rest):
    order = on_host.expect(images, Order(Samples(full), Samples(rest)))
    batches = jax.lax.map(lambda index: on_host.take(images, index), order.full.index)
    return batches, on_host.take(images, order.rest.index)

  return jax.jit(run)


def test_what_is_taken_lies_at_the_positions(piece, visit):
  images = placed()
  for _ in range(2):
    full, rest = visit(images, INDEX, REST)
    np.testing.assert_array_equal(full, X[INDEX])
    np.testing.assert_array_equal(rest, X[REST])
  calls = 9 if piece == 5 else 5  # a batch of six is read by two
  assert images.reader.ahead == 2 * calls


def test_members_of_a_vmap_take_their_own(visit):
  images, index = placed(), np.stack([INDEX, INDEX[::-1]])
  full, rest = jax.vmap(visit, in_axes=(None, 0, None))(images, index, REST)
  np.testing.assert_array_equal(full, X[index])
  np.testing.assert_array_equal(rest, X[np.stack([REST, REST])])
  assert images.reader.ahead > 0


def test_one_program_serves_all_arrays_of_a_form(visit):
  """Also after the first ones are gone."""
  first = placed()
  visit(first, INDEX, REST)
  del first
  gc.collect()
  other = placed(255 - X)
  np.testing.assert_array_equal(visit(other, INDEX, REST)[0], 255 - X[INDEX])
  assert visit._cache_size() == 1


def test_pairs_are_announced_side_by_side():
  pair = Pair(Samples(INDEX), Samples(INDEX[::-1], weight=jnp.ones((4, 6))))
  images = placed()
  found = jax.jit(lambda images: on_host.expect(images, Order(pair, None)))(images)
  jax.tree.map(np.testing.assert_array_equal, found, Order(pair, None))
  assert len(images.reader._orders) == 2


def test_arrays_on_the_device_are_taken_as_they_are():
  order = Order(Samples(INDEX), None)
  assert on_host.expect(jnp.asarray(X), order) is order
  np.testing.assert_array_equal(on_host.take(jnp.asarray(X), INDEX), X[INDEX])


@pytest.mark.parametrize("kind", [">f4", "<f8", ">u2"])
def test_types_are_those_of_the_device(kind):
  images = placed(X.astype(kind))
  found = on_host.take(images, jnp.asarray(REST))
  assert found.dtype == jnp.asarray(X.astype(np.dtype(kind).newbyteorder("="))).dtype
  np.testing.assert_array_equal(found, X[REST])


def test_arguments_of_a_call_are_short():
  """jax copies arrays below 100 KiB at once, and longer ones by threads that may wait for them."""
  assert 4 * (8192 + on_host.HEAD) < 100 * 1024
