"""Data sets of a user's own, by reference: a function that returns arrays, or a `Dataset`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxmu.data.arrays import Dataset, make
from jaxmu.errors import DataError, shown
from jaxmu.own_code import references


def read(reference: str) -> Callable[..., Any]:
  """Return the function that a reference names; `DataError` where there is none."""
  found = references.find(reference, "data set", DataError)
  if not callable(found):
    raise DataError(
      f"data set {reference} is {shown(found)}; expected a function that returns images and labels"
    )
  return found


def load(reference: str, **given: str | None) -> Dataset | dict[str, Any]:
  """Call a data set's function; return what it gives, arrays by name or a `Dataset`.

  Args:
    given: `data_dir` and `path` of the config; it gets those that it takes.

  Raises:
    DataError: it raises anything, gives something else, or takes no path where one is given.
  """
  function, called = read(reference), f"data set {reference}"
  if given.get("path") and not references.takes(function, "path"):
    raise DataError(
      f"{called} takes no argument 'path', and config.data.path is {given['path']!r}; leave it out"
    )
  found = references.call(function, called, DataError, **given)
  if isinstance(found, tuple | list) and len(found) in (2, 3):
    found = dict(zip(("images", "labels", "num_train"), found))
  if isinstance(found, Dataset):
    return found
  if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
    raise DataError(
      f"{called} gives {shown(found)}; expected images, labels and num_train, a mapping of arrays "
      "as a file of data set 'npz' holds them, or a jaxmu.data.Dataset"
    )
  return {name: _array(value, f"{called}: {name}") for name, value in found.items()}


def again(name: str, found: Dataset) -> Dataset:
  """Return a `Dataset` that somebody built, checked part by part."""
  checked = make(
    name,
    found.images,
    found.labels,
    found.num_train,
    class_names=found.class_names,
    mean=found.mean,
    std=found.std,
    augmentation=found.augmentation,
    channels=found.channels,
    indices=found.indices,
    groups=found.groups,
  )
  return dataclasses.replace(checked, original_labels=checked.labels)


def _array(value: Any, called: str) -> np.ndarray:
  """Return a value as an array, a tensor or nested lists as well; `DataError` for anything else."""
  try:
    array = np.asarray(value)
  except Exception as error:
    raise DataError(f"{called} is {shown(value)}; expected an array") from error
  if array.dtype == object:
    raise DataError(f"{called} is {shown(value)}; expected an array of numbers or texts")
  return array
