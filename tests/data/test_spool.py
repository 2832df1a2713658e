"""Batches that are made one after another, kept in a temporary file."""

import errno
import tempfile

import numpy as np
import pytest

from jaxmu.data import spool
from jaxmu.errors import DataError

X, Y = np.arange(84, dtype=np.float32).reshape(7, 3, 4), np.arange(7)


def batches(size=3):
  for start in range(0, 7, size):
    yield X[start : start + size], Y[start : start + size]


@pytest.mark.parametrize(
  "given", [batches(), batches, iter(list(batches()))], ids=["generator", "function", "iterator"]
)
def test_batches_become_one_mapped_array(given, tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  assert spool.is_batches(given)
  x, y = spool.spooled("retain", given)
  np.testing.assert_array_equal(x, X)
  np.testing.assert_array_equal(y, Y)
  assert isinstance(x, np.memmap)
  assert not list(tmp_path.iterdir())  # nothing is left behind, whatever happens


@pytest.mark.parametrize("given", [(X, Y), [X, Y], "xy", {"x": X}, X, 3, {1, 2}, None])
def test_what_is_no_batches_is_told(given):
  assert not spool.is_batches(given)


@pytest.mark.parametrize(
  ("given", "words"),
  [
    (iter([]), r"retain yields no sample; expected batches \(x, y\)"),
    (lambda x: 3, r"retain: calling .* failed \(.*1 required positional argument"),
    (lambda: 3, "retain: called, it gave 3; expected batches"),
    (iter([X]), r"retain: batch 0 must be a pair \(x, y\), got float32 of shape \(7, 3, 4\)"),
    (
      iter([(X, Y), (X, Y[:2])]),
      r"retain: batch 1 has x of shape \(7, 3, 4\) and y of shape \(2,\)",
    ),
    (
      iter([(X, Y), (X[:, :2], Y)]),
      r"retain: batch 1 holds float32 \(2, 4\), the first float32 \(3, 4\); expected one form",
    ),
  ],
)
def test_batches_that_do_not_belong_together_are_refused(given, words):
  with pytest.raises(DataError, match=words):
    spool.spooled("retain", given)


def test_a_full_disk_is_told():
  class Full:
    def write(self, _):
      raise OSError(errno.ENOSPC, "No space left on device")

  with pytest.raises(DataError, match=r"retain: batches do not fit into .*No space left.*TMPDIR"):
    spool._write("retain", Full(), X)
