"""Changes to a whole data set before anything is trained: fewer samples, or random labels."""

from dataclasses import replace

import numpy as np

from jaxmu.data.arrays import Dataset
from jaxmu.errors import DataError

SUBSET_SEED = 123
LABEL_STREAM = 1


def subset(dataset: Dataset, num_train: int = 0, num_test: int = 0) -> Dataset:
  """Keep `num_train` and `num_test` samples of the official parts (0 keeps a part whole).

  The samples are the first of a fixed permutation of each part, so a smaller subset lies within a
  larger one; their order is the official one, and `indices` still names it. Raises `DataError`
  where there are too few samples.
  """
  keep = subset_positions(dataset.num_train, len(dataset.labels), num_train, num_test)
  return replace(
    dataset,
    images=dataset.images[keep],
    labels=dataset.labels[keep],
    original_labels=dataset.original_labels[keep],
    indices=dataset.indices[keep],
    groups=None if dataset.groups is None else dataset.groups[keep],
    num_train=num_train or dataset.num_train,
  )


def subset_positions(
  num_train: int, num_total: int, keep_train: int = 0, keep_test: int = 0
) -> np.ndarray:
  """Return which samples `subset` keeps of a data set of this size: sorted int64 positions."""
  train = _first_of_permutation("subset_train", keep_train, num_train)
  test = _first_of_permutation("subset_test", keep_test, num_total - num_train)
  return np.concatenate([train, num_train + test])


def randomise_labels(dataset: Dataset, share: float, seed: int) -> Dataset:
  """Give round(share * N) samples, drawn from all parts alike, a uniformly random label.

  Only memorisation fits such labels, so members and non-members come apart; because train,
  validation and test samples are drawn alike, they stay exchangeable. (An exact share in every part
  would not do: it makes the parts more alike than chance, and a cross-validated attack on a model
  without any signal would then sit below one half.) The true class is among the labels drawn;
  `original_labels` keeps the truth. Raises `DataError` for a share outside [0, 1).
  """
  if not 0 <= share < 1:
    raise DataError(f"random_labels is {share}; expected a share from 0 up to, not including, 1")
  # A stream of its own: with equal seeds, a split's permutation must not choose the same samples.
  rng = np.random.default_rng((seed, LABEL_STREAM))
  labels = dataset.labels.copy()
  chosen = rng.permutation(len(labels))[: round(share * len(labels))]
  labels[chosen] = rng.integers(0, dataset.num_classes, len(chosen))
  return replace(dataset, labels=labels)


def _first_of_permutation(name: str, count: int, available: int) -> np.ndarray:
  if not 0 <= count <= available:
    raise DataError(
      f"{name} is {count}; expected 0 (keep all) or 1 to {available}, the number there is"
    )
  if count == 0:
    return np.arange(available)
  return np.sort(np.random.default_rng(SUBSET_SEED).permutation(available)[:count])
