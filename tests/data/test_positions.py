"""Sets as positions in one array."""

import numpy as np
import pytest

from jaxmu.data import positions
from jaxmu.errors import DataError


@pytest.mark.parametrize(
  ("given", "wanted"),
  [
    ([3, 0, 4], [3, 0, 4]),
    (range(2, 5), [2, 3, 4]),
    (np.array([4, 1], np.uint8), [4, 1]),
    (np.array([False, True, False, True, False]), [1, 3]),
    ([True, False, False, False, True], [0, 4]),
  ],
)
def test_lists_and_masks_are_positions(given, wanted):
  found = positions.read("retain", given, 5)
  assert found.tolist() == wanted and found.dtype == np.int64


@pytest.mark.parametrize(
  ("given", "words"),
  [
    (
      [0, 5],
      r"retain holds position 5; expected positions 0\.\.4 in data, or a mask of shape \(5,",
    ),
    ([-1, 2], "retain holds position -1; expected"),
    ([2, 1, 2], "retain holds position 2 2 times; expected each sample at most once"),
    ([], "retain is empty; expected at least one of the 5 samples of data"),
    (np.zeros(5, bool), "retain is empty"),
    ([True, False], r"retain: the mask has shape \(2,\); expected positions"),
    ([0.5], r"retain: got float64 of shape \(1,\); expected positions"),
    ([[1, 2]], r"retain: got int64 of shape \(1, 2\); expected"),
    (3, r"retain: got int64 of shape \(\); expected"),
    ((np.zeros((2, 3)), [0, 1]), r"retain is a pair \(x, y\), beside data=; expected positions"),
  ],
)
def test_what_names_no_samples_is_refused(given, words):
  with pytest.raises(DataError, match=words):
    positions.read("retain", given, 5)


def test_sets_that_share_positions_are_refused():
  sets = {"retain": np.array([4, 2, 0]), "forget": np.array([1]), "validation": np.array([3, 2, 0])}
  with pytest.raises(DataError) as caught:
    positions.check_apart(sets)
  assert str(caught.value) == (
    "retain and validation share 2 positions, the first is 0; expected disjoint sets: take them "
    "out of one"
  )
  positions.check_apart({name: sets[name] for name in ("retain", "forget")})
