"""Rows of arrays that stay where they are."""

import numpy as np
import pytest

from jaxmu.data import rows
from jaxmu.errors import DataError

X = np.arange(60, dtype=np.float32).reshape(10, 2, 3)


class OnDisk:
  """An array as h5py has it: rows by slices and by strictly increasing positions."""

  def __init__(self, array=X):
    self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

  def __getitem__(self, key):
    if not isinstance(key, slice):
      assert (np.diff(key) > 0).all(), key
    found = self.array[key]
    self.read += len(found)
    return found


@pytest.fixture(params=["memory", "disk"])
def array(request):
  return X if request.param == "memory" else OnDisk()


KEYS = [
  3,
  np.int64(9),
  slice(2, 7),
  slice(None),
  slice(8, 2, -2),
  [4, 4, 0, 9, 4],
  [],
  np.array([7]),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_are_those_of_the_array(array, key):
  found = rows.Rows([rows.Part(array)])
  key = np.array(key, int) if isinstance(key, list) else key
  np.testing.assert_array_equal(found[key], X[key])


@pytest.mark.parametrize(
  "key", [slice(None), slice(3, 9), [6, 1, 13, 1], [0, 1], [12, 11]], ids=str
)
def test_chosen_rows_and_further_arrays_come_one_after_another(array, key):
  places = np.array([5, 0, 9, 3])
  key = np.array(key) if isinstance(key, list) else key
  found = rows.joined([rows.of("data", rows.Rows([rows.Part(array)])).chosen(places), X + 100])
  assert (found.shape, found.ndim, found.size, found.nbytes) == ((14, 2, 3), 3, 84, 336)
  np.testing.assert_array_equal(found[key], np.concatenate([X[places], X + 100])[key])


def test_a_type_of_its_own():
  found = rows.Rows([rows.Part(X.astype(np.float16)), rows.Part(X)])
  assert found.dtype == np.float32 and found[[0, 15]].dtype == np.float32
  assert found.of_type("f8")[2:4].dtype == np.float64


def test_all_rows_are_read_block_by_block(array, monkeypatch):
  """Into memory that begins where XLA wants it."""
  monkeypatch.setattr(rows, "BLOCK", 18)
  found = rows.joined([rows.of("data", array).chosen(np.array([4, 1])), X]).of_type("f8").whole()
  np.testing.assert_array_equal(found, np.concatenate([X[[4, 1]], X]))
  assert found.dtype == np.float64 and found.ctypes.data % 64 == 0


def test_rows_are_never_read_whole_by_accident():
  with pytest.raises(TypeError, match=r"rows\[\.\.\.\] or whole"):
    np.asarray(rows.Rows([rows.Part(X)]))


def test_only_what_is_asked_for_is_read():
  disk = OnDisk()
  found = rows.of("data", disk).chosen(np.array([8, 2, 2]))
  assert disk.read == 1  # its form
  found[[0, 1, 2]]
  assert disk.read == 3


@pytest.mark.parametrize(
  ("given", "lazy"),
  [(OnDisk(), True), (X, False), ([1.0], False), (np.float32(3), False), ("abc", False)],
  ids=["disk", "array", "list", "number", "text"],
)
def test_arrays_on_disks_are_told_from_those_in_memory(given, lazy):
  assert rows.is_lazy(given) == lazy


class Broken(OnDisk):
  def __getitem__(self, key):
    raise OSError("the disk is gone")


class Wrong(OnDisk):
  def __getitem__(self, key):
    return self.array[0]


@pytest.mark.parametrize(
  ("given", "words"),
  [
    (Broken(), r"data: rows of Broken cannot be read by array\[0:1\] \(OSError: the disk is gone"),
    (Wrong(), r"data: array\[0:1\] of float32 of shape \(10, 2, 3\) is float32 of shape \(2, 3\)"),
    (OnDisk(np.zeros((0, 2))), r"data: samples must have shape \[n >= 1, \.\.\.\], got \(0, 2\)"),
  ],
)
def test_what_has_no_rows_is_refused(given, words):
  with pytest.raises(DataError, match=words):
    rows.of("data", given)


def test_blocks_cover_everything_once(monkeypatch):
  monkeypatch.setattr(rows, "BLOCK", 18)
  found = rows.blocks(X)
  np.testing.assert_array_equal(np.concatenate([X[block] for block in found]), X)
  assert max(len(X[block]) for block in found) == 3
