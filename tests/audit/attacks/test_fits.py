"""Gaussians without a group of models: against fits to the rest, sorted each time anew."""

import numpy as np
import pytest

from jaxmu.audit.attacks import fits as module
from jaxmu.audit.attacks.fits import (
  at_rows,
  blocks,
  check_shapes,
  group_numbers,
  leave_out_fits,
  read_finite,
  to_float32,
  without,
)
from jaxmu.errors import DataError


@pytest.mark.parametrize("fit", ["normal", "median", "robust"])
@pytest.mark.parametrize("groups", [None, "each", "uneven"])
def test_fits_without_a_group_equal_fits_to_the_rest(groups, fit):
  """Ties, groups of different sizes in mixed order, and columns with hardly a value."""
  rng = np.random.default_rng(2)
  values = np.round(2 * rng.standard_cauchy((31, 60)))
  mask = rng.random(values.shape) < np.linspace(0, 1, 60)
  uneven = rng.integers(0, 7, 31)
  group = {None: np.zeros(31, int), "each": np.arange(31), "uneven": uneven}[groups]
  found = leave_out_fits(values, mask, None if groups is None else group, fit)
  for g, x in np.ndindex(found.centre.shape):
    rest = values[mask[:, x] & ((group != g) | (groups is None)), x]
    assert found.count[g, x] == len(rest)
    if not len(rest):
      assert np.isnan(found.centre[g, x])
      continue
    centre = rest.mean() if fit == "normal" else np.median(rest)
    np.testing.assert_allclose(found.centre[g, x], centre, atol=1e-9)
    if len(rest) < 2:
      assert np.isnan(found.scale[g, x])
      continue
    deviation = 1.4826 * np.median(np.abs(rest - centre))
    scale = deviation if fit == "robust" else rest.std(ddof=1)
    np.testing.assert_allclose(found.scale[g, x], max(scale, 1e-3), rtol=1e-7, atol=1e-7)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fit", ["normal", "median", "robust"])
def test_columns_without_a_value_are_quiet(fit):
  values, mask = np.zeros((4, 3)), np.zeros((4, 3), bool)
  mask[:1, 1], mask[:, 2] = True, True
  found = leave_out_fits(values, mask, np.arange(4), fit)
  np.testing.assert_array_equal(np.isnan(found.centre[0]), [True, True, False])
  np.testing.assert_array_equal(np.isnan(found.scale[1]), [True, True, False])
  np.testing.assert_array_equal(found.scale[:, 2], 1e-3)


def test_sums_without_each_group():
  x, groups = np.arange(12.0).reshape(6, 2), np.array([2, 0, 1, 0, 2, 2])
  expected = [x[groups != g].sum(0) for g in range(3)]
  np.testing.assert_array_equal(without(x, groups), expected)
  np.testing.assert_array_equal(without(x, None), x.sum(0, keepdims=True))


def test_rows_of_a_table():
  table = np.arange(6.0).reshape(3, 2)
  np.testing.assert_array_equal(at_rows(table, None), [[0, 1]])
  np.testing.assert_array_equal(at_rows(table, np.array([2, 2, 0, 1])), table[[2, 2, 0, 1]])
  np.testing.assert_array_equal(at_rows(table, np.array([[2, 0]])), [[4, 1]])


def test_blocks_cover_all_samples_once(monkeypatch):
  monkeypatch.setattr(module, "_BLOCK", 30)
  parts = [range(10)[part] for part in blocks((9, 10))]
  assert [len(part) for part in parts] == [3, 3, 3, 1]
  assert [i for part in parts for i in part] == list(range(10))
  assert [len(range(3)[part]) for part in blocks((100, 3))] == [1, 1, 1]


def test_groups_by_what_is_left_out():
  splits = np.array([7, 3, 7])
  np.testing.assert_array_equal(group_numbers(splits, "split", 3), [1, 0, 1])
  np.testing.assert_array_equal(group_numbers(splits, "model", 3), [0, 1, 2])
  assert group_numbers(splits, "nothing", 3) is None
  with pytest.raises(DataError, match=r"splits \(3,\) must name the split of each of the 4 models"):
    group_numbers(splits, "split", 4)
  with pytest.raises(ValueError, match=r"leave_out must be one of .*, got 'half'"):
    group_numbers(splits, "half", 3)


@pytest.mark.filterwarnings("error")
def test_large_numbers_are_cut():
  scores = np.array([[1e300, -2.0], [np.inf, np.nan]])
  mask = np.array([[True, True], [False, False]])
  np.testing.assert_array_equal(read_finite(scores, slice(None), mask), [[1e100, -2], [0, 0]])
  with pytest.raises(DataError, match="model 1 has scores that are not finite"):
    read_finite(scores, slice(None))
  largest = np.finfo(np.float32).max
  found = to_float32(np.array([1e300, -1e39, np.inf, 0.5, np.nan]))
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, [largest, -largest, largest, 0.5, np.nan])


def test_arrays_that_do_not_belong_together_are_refused():
  check_shapes(np.ones((3, 4)), np.ones((3, 4)), np.ones((1, 4)))
  check_shapes(np.ones((2, 3, 4)), np.ones((3, 4)), np.ones((2, 1, 4)))
  for scores, other, target in (
    [(3, 4), (3, 5), (3, 4)],
    [(3, 4), (3, 4), (3, 5)],
    [(4,), (4,), (4,)],
    [(2, 3, 4), (3, 4), (3, 4)],
    [(2, 3, 4), (2, 3, 4), (2, 3, 4)],
    [(2, 3, 4), (3, 4), (1, 3, 4)],
  ):
    with pytest.raises(DataError, match="do not belong together"):
      check_shapes(np.ones(scores), np.ones(other), np.ones(target))
  with pytest.raises(DataError, match=r"scores \(0, 4\) and targets \(1, 4\) are empty"):
    check_shapes(np.ones((0, 4)), np.ones((0, 4)), np.ones((1, 4)))
