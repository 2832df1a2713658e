"""Batches read before they are asked for."""

import threading

import numpy as np
import pytest

from jaxmu.data.read_ahead import ORDERS, Reader
from jaxmu.data.rows import Part, Rows
from jaxmu.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (50, 3, 2), np.uint8)
BATCH = 4 * X[0].nbytes


def batches(seed, count=9, size=4):
  return list(np.random.default_rng(seed).integers(0, 50, (count, size)))


def announce(reader, name, order, pieces=2):
  first, whole = 0, np.concatenate(order)
  for piece in np.array_split(whole, pieces):
    reader.expect(name, len(whole), first, piece)
    first += len(piece)


@pytest.mark.parametrize("segment", [1, 3 * BATCH, 100 * BATCH])
def test_announced_batches_are_those_of_the_array(segment):
  reader = Reader(Rows([Part(X)]), segment)
  for _ in range(2):  # two epochs without shuffling
    announce(reader, 7, batches(1))
    for index in batches(1):
      np.testing.assert_array_equal(reader.read(index), X[index])
  assert reader.ahead == 18


def test_batches_of_several_sizes_follow_one_another():
  reader = Reader(Rows([Part(X)]), 2 * BATCH)
  order = [*batches(1, 3), *batches(2, 3, 7), *batches(3, 5, 1)]
  announce(reader, 7, order)
  for index in order:
    np.testing.assert_array_equal(reader.read(index), X[index])
  assert reader.ahead == 11


def test_what_was_not_announced_is_read_all_the_same():
  reader = Reader(Rows([Part(X)]))
  announce(reader, 1, batches(1))
  for index in batches(2):
    np.testing.assert_array_equal(reader.read(index), X[index])
  reader.expect(2, 8, 4, batches(2)[1])  # whose beginning nobody has seen
  reader.expect(1, 8, 8, batches(2)[1])  # more than it has
  for index in batches(2):
    np.testing.assert_array_equal(reader.read(index), X[index])
  assert reader.ahead == 0


def test_two_orders_take_turns():
  """As a step reads a retain and a forget batch."""
  reader = Reader(Rows([Part(X)]), 2 * BATCH)
  one, other = batches(1), batches(2)
  announce(reader, 1, one)
  announce(reader, 2, other)
  for pair in zip(one, other):
    for index in pair:
      np.testing.assert_array_equal(reader.read(index), X[index])
  assert reader.ahead == 18


def test_orders_that_nobody_follows_are_forgotten():
  reader = Reader(Rows([Part(X)]))
  for seed in range(ORDERS + 1):
    announce(reader, seed, batches(seed))
  reader.read(batches(0)[0])
  assert reader.ahead == 0
  reader.read(batches(1)[0])
  assert reader.ahead == 1


class Slow:
  """An array that notes which rows were read, and by whom."""

  shape, dtype = X.shape, X.dtype

  def __init__(self):
    self.seen = []

  def __getitem__(self, key):
    self.seen.append((threading.current_thread().name, len(X[key])))
    return X[key]


def test_only_this_and_the_next_segment_are_read():
  source = Slow()
  reader = Reader(Rows([Part(source)]), 2 * BATCH)
  order = list(np.arange(48).reshape(12, 4))
  announce(reader, 1, order)
  for index in order[:3]:
    reader.read(index)
  reader._thread.submit(int).result()  # what was submitted before is done by then
  assert [size for _, size in source.seen] == [8, 8, 8]
  assert [name.startswith("jaxmu-rows") for name, _ in source.seen] == [False, True, True]


def test_nothing_is_read_beyond_the_end():
  """Some libraries refuse an empty selection."""
  source = Slow()
  reader = Reader(Rows([Part(source)]), 2 * BATCH)
  order = list(np.arange(16).reshape(4, 4))
  announce(reader, 1, order)
  for index in order:
    reader.read(index)
  reader._thread.submit(int).result()
  assert [size for _, size in source.seen] == [8, 8]


def test_an_error_is_remembered():
  class Broken(Slow):
    def __getitem__(self, key):
      raise OSError("the disk is gone")

  reader = Reader(Rows([Part(Broken())]))
  announce(reader, 1, batches(1))
  with pytest.raises(DataError, match="OSError: the disk is gone") as caught:
    reader.read(batches(1)[0])
  assert reader.error is caught.value
