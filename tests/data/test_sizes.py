"""Sizes of data sets that are known without reading them."""

import dataclasses

import numpy as np
import pytest

from jaxmu import data
from jaxmu.data import sizes
from jaxmu.errors import SettingsError
from jaxmu.settings import Settings
from jaxmu.studies import catalog


def settings(dataset, **chosen):
  config = {"name": "x", "dataset": dataset, "model": {"name": "cnn"}, "seeds": 0, "methods": "ft"}
  return Settings.from_config(config | {"data": chosen}, catalog())


def dimensions(dataset):
  """Return what `sizes.dimensions` should say of a data set that was read."""
  return dataset.num_train, len(dataset.labels), dataset.input_shape, dataset.num_classes


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_sizes_are_those_of_the_data(name):
  train, indices, *rest = sizes.dimensions(settings(name))
  assert (train, len(indices), *rest) == dimensions(data.load(name))


def test_sizes_of_all_but_ones_own_data_are_known():
  assert sizes.SIZES.keys() == data.DATASETS.keys() - {"npz"}


def test_the_positions_of_a_subset_are_those_of_the_data():
  chosen = settings("synthetic", subset_train=100, subset_test=30)
  train, indices, *_ = sizes.dimensions(chosen)
  dataset = data.load_for(chosen)
  assert train == dataset.num_train == 100
  np.testing.assert_array_equal(indices, dataset.indices)


@pytest.mark.parametrize(("part", "most"), [("subset_train", 400), ("subset_test", 100)])
def test_a_subset_is_no_larger_than_what_there_is(part, most):
  sizes.dimensions(settings("synthetic", **{part: most}))
  message = rf"config\.data\.{part} is {most + 1}; expected 0 \(keep all\) or 1 to {most}, the"
  with pytest.raises(SettingsError, match=message):
    sizes.dimensions(settings("synthetic", **{part: most + 1}))


def test_a_loader_of_ones_own_must_read():
  unknown = dataclasses.replace(settings("digits"), dataset="mine")
  with pytest.raises(
    SettingsError, match=r"does not know the size of data set 'mine' .*; known: di"
  ):
    sizes.dimensions(unknown)
