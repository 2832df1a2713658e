"""Subsets and random labels: exact counts, fixed choice, the truth kept."""

from dataclasses import replace

import numpy as np
import pytest

from jaxmu import data
from jaxmu.errors import DataError

DIGITS = data.load("digits")


def test_subset_keeps_official_order_and_nests():
  small = data.subset(DIGITS, 100, 40)
  large = data.subset(DIGITS, 300, 40)
  assert (small.num_train, len(small.images)) == (100, 140)
  for dataset in (small, large):
    assert (np.diff(dataset.indices) > 0).all()
    assert dataset.indices[dataset.num_train - 1] < DIGITS.num_train
    assert dataset.indices[dataset.num_train] >= DIGITS.num_train
    np.testing.assert_array_equal(dataset.images, DIGITS.images[dataset.indices])
    np.testing.assert_array_equal(dataset.labels, DIGITS.labels[dataset.indices])
  assert set(small.indices) < set(large.indices)
  assert not np.array_equal(small.indices[:100], np.arange(100))


def test_subset_of_a_subset_still_names_official_positions():
  twice = data.subset(data.subset(DIGITS, 300, 100), 50, 20)
  np.testing.assert_array_equal(twice.images, DIGITS.images[twice.indices])


def test_subset_of_nothing_is_everything():
  assert data.subset(DIGITS).sha256 == DIGITS.sha256


@pytest.mark.parametrize(
  ("sizes", "message"),
  [
    ((1439, 0), "subset_train is 1439; expected 0 .* 1 to 1438"),
    ((0, 360), "subset_test is 360; expected 0 .* 1 to 359"),
    ((-1, 0), "subset_train is -1"),
  ],
)
def test_subset_refuses(sizes, message):
  with pytest.raises(DataError, match=message):
    data.subset(DIGITS, *sizes)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.99])
def test_random_labels_have_the_exact_share(share):
  # so many classes that a random label is never the true one
  classes = tuple(str(c) for c in range(1_000_000))
  noisy = data.randomise_labels(replace(DIGITS, class_names=classes), share, seed=5)
  assert (noisy.labels != noisy.original_labels).sum() == round(share * len(noisy.labels))


def test_random_labels_fall_on_all_parts_alike():
  """Hypergeometric counts: over many seeds every part gets its share, within 4 standard errors.

  The seed of the split is the seed of the labels on purpose: the two must not draw from one stream.
  """
  counts = {part: [] for part in ("retain", "forget", "val", "test")}
  classes = tuple(str(c) for c in range(1_000_000))
  many = replace(DIGITS, class_names=classes)
  for seed in range(40):
    split = data.redrawn_split(DIGITS.num_train, len(DIGITS.labels), seed=seed)
    noisy = data.randomise_labels(many, 0.1, seed)
    changed = noisy.labels != noisy.original_labels
    for part, found in counts.items():
      found.append(changed[getattr(split, part)].mean())
  for part, found in counts.items():
    error = np.sqrt(0.1 * 0.9 / len(getattr(split, part)) / len(found))
    assert abs(np.mean(found) - 0.1) < 4 * error, part
    assert np.std(found) > 0, part


def test_random_labels_are_uniform_and_keep_the_truth():
  noisy = data.randomise_labels(DIGITS, 0.9, seed=5)
  np.testing.assert_array_equal(noisy.original_labels, DIGITS.labels)
  assert noisy.labels.dtype == np.int32
  changed = (noisy.labels != DIGITS.labels).mean()
  # of the 90 % chosen, nine tenths get another class; 3 SD of the binomial proportion
  assert abs(changed - 0.81) < 3 * np.sqrt(0.9 * 0.09 / len(noisy.labels)) + 0.002
  counts = np.bincount(noisy.labels, minlength=10)
  assert counts.min() > 120
  assert noisy.sha256 != DIGITS.sha256


def test_random_labels_depend_on_the_seed_alone():
  first, same, other = (data.randomise_labels(DIGITS, 0.1, seed) for seed in (1, 1, 2))
  np.testing.assert_array_equal(first.labels, same.labels)
  assert (first.labels != other.labels).any()
  assert data.randomise_labels(DIGITS, 0.0, 1).sha256 == DIGITS.sha256


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_share_out_of_range_is_refused(share):
  with pytest.raises(DataError, match=f"random_labels is {share}; expected a share from 0"):
    data.randomise_labels(DIGITS, share, 1)
