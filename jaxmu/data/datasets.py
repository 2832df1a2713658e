"""The data sets that a config can name. `DATASETS` maps each name to its loader."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxmu.data import npz_file, own_dataset, tfds_source, utkface
from jaxmu.data.arrays import Dataset, make
from jaxmu.data.identities import identities
from jaxmu.errors import DataError, closest
from jaxmu.own_code import names

# spec data_models 2: mean and standard deviation of images in [0, 1], and the augmentation.
TRANSFORMS: dict[str, dict] = {
  "mnist": {"mean": (0.1307,), "std": (0.3081,), "augmentation": "flip"},
  "fashion_mnist": {"mean": (0.2860,), "std": (0.3530,), "augmentation": "flip"},
  "cifar10": {
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2023, 0.1994, 0.2010),
    "augmentation": "crop_flip",
  },
  "cifar100": {
    "mean": (0.5071, 0.4865, 0.4409),
    "std": (0.2673, 0.2564, 0.2762),
    "augmentation": "crop_flip",
  },
}


def load(name: str, *, data_dir: str | None = None, path: str | None = None) -> Dataset:
  """Load a data set by its registry name.

  `name` may also be one of an installed package, or MODULE:NAME of a function of one's own.
  `data_dir` holds prepared tensorflow-datasets folders (default: TFDS_DATA_DIR), `path` is the file
  of "npz". Raises `DataError` for an unknown name, an absent data set, or arrays without the
  promised form.
  """
  if reference := names.named("datasets", name, DATASETS):
    return own(name, reference, data_dir=data_dir or None, path=path or None)
  if name not in DATASETS:
    known = {*DATASETS, *names.installed("datasets")}
    raise DataError(f"unknown data set '{name}'; {closest(name, known)}")
  return DATASETS[name](name, data_dir=data_dir or None, path=path or None)


def own(name: str, reference: str, **given: str | None) -> Dataset:
  """Load a data set of a user's own; `DataError` where its function gives nothing of the kind."""
  found = own_dataset.load(reference, **given)
  if isinstance(found, Dataset):
    return own_dataset.again(name, found)
  return of_arrays(name, found, f"data set {reference}")


def digits(name: str = "digits", **_) -> Dataset:
  """Load scikit-learn's 1,797 handwritten digits: 8x8, one channel, nothing to download.

  The source has no official split, so we make one as the reference does for UTKFace (spec
  data_models 1.1): 20 % of a fixed permutation are the test part. Not augmented: eight pixels leave
  no room for crops.
  """
  from sklearn.datasets import load_digits

  source = load_digits()
  images = np.round(source.images * (255 / 16)).astype(np.uint8)
  order, num_train = own_split(len(images))
  return make(
    name,
    images[order],
    source.target[order],
    num_train,
    class_names=tuple(str(c) for c in source.target_names),
    mean=(0.3053,),  # measured on the train part
    std=(0.3758,),
  )


def prepared(name: str, data_dir: str | None = None, **_) -> Dataset:
  """Load a prepared tensorflow-datasets set, at 32x32 pixels and with three input channels.

  CIFAR comes in its original file order; MNIST and Fashion-MNIST in the order of
  tensorflow-datasets, which keeps no trace of the original one. The groups of CIFAR-100 are its 20
  superclasses.
  """
  source = tfds_source.read(name, data_dir, image_size=32)
  return _of_source(name, name, source, source.labels, source.class_names, source.coarse)


def superclasses(name: str = "cifar100_coarse", data_dir: str | None = None, **_) -> Dataset:
  """Load CIFAR-100 with its 20 superclasses as labels, and its 100 classes as groups.

  For requests to forget a part of a class. Raises `DataError` as `prepared` does.
  """
  source = tfds_source.read("cifar100", data_dir, image_size=32)
  assert source.coarse is not None
  return _of_source(name, "cifar100", source, source.coarse, source.coarse_names, source.labels)


def _of_source(
  name: str,
  recipe: str,
  source: tfds_source.Source,
  labels: np.ndarray,
  class_names: tuple[str, ...],
  groups: np.ndarray | None,
) -> Dataset:
  return make(
    name,
    source.images,
    labels,
    source.num_train,
    class_names=class_names,
    channels=3,
    groups=groups,
    **TRANSFORMS[recipe],
  )


def npz(name: str = "npz", path: str | None = None, **_) -> Dataset:
  """Load a user's own arrays from an `.npz` file.

  Either `images` uint8 [N, H, W, C] and `labels` int [N], train samples first, with `num_train`; or
  `train_images`, `train_labels`, `test_images` and `test_labels`. Without `num_train` a fifth of a
  fixed permutation becomes the test part, and `Dataset.indices` gives each sample's position in the
  file. Optional: `mean`, `std` (for images in [0, 1]; else computed from the train part),
  `class_names` (or `classes`), `augmentation`, `groups` int [N] (or `train_groups` and
  `test_groups`), the user or person of each sample, and `forget` int [n], positions of those to be
  forgotten, which `forget_list` reads. Arrays of other names are refused.
  """
  if not path:
    raise DataError("data set 'npz' needs a file; got no path: set --config.data.path=FILE.npz")
  return of_arrays(name, npz_file.read(path), f"data file {path}")


def of_arrays(name: str, arrays: Mapping[str, Any], called: str) -> Dataset:
  """Make a data set of arrays as a file of `npz` has them; `DataError` where they are others.

  Args:
    called: what holds the arrays, for messages.
  """
  images, labels, num_train = npz_file.join_parts(arrays, called)
  groups, indices = npz_file.groups(arrays, called), None
  if num_train is None:
    indices, num_train = own_split(len(images))
    images, labels = images[indices], labels[indices]
    groups = groups[indices] if groups is not None and groups.shape == labels.shape else groups
  return make(
    name,
    images,
    labels,
    num_train,
    class_names=npz_file.class_names(arrays, called),
    mean=arrays.get("mean"),
    std=arrays.get("std"),
    augmentation=arrays.get("augmentation", "none"),
    indices=indices,
    groups=groups,
  )


def faces(
  name: str = "utkface", *, data_dir: str | None = None, path: str | None = None
) -> Dataset:
  """Load UTKFace from a folder of the user's: five classes of age, 224 pixels, not augmented.

  A fifth of a fixed permutation is the test part (spec data_models 1.1).
  """
  images, labels = utkface.read(path, data_dir)
  order, num_train = own_split(len(labels))
  return make(
    name,
    images[order],
    labels[order],
    num_train,
    class_names=utkface.CLASSES,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
  )


def synthetic(
  name: str = "synthetic",
  *,
  num_train: int = 400,
  num_test: int = 100,
  num_classes: int = 4,
  image_size: int = 8,
  channels: int = 3,
  noise: float = 0.25,
  augmentation: str = "none",
  seed: int = 0,
  **_,
) -> Dataset:
  """Make a small data set for tests and first trials: a random pattern per class plus noise.

  The same arguments give the same bytes everywhere.
  """
  rng = np.random.default_rng(seed)
  total = num_train + num_test
  patterns = rng.random((num_classes, image_size, image_size, channels))
  labels = rng.permutation(np.arange(total) % num_classes)
  images = patterns[labels] + noise * rng.standard_normal((total, *patterns.shape[1:]))
  images = np.round(255 * images.clip(0, 1)).astype(np.uint8)
  classes = tuple(f"pattern {c}" for c in range(num_classes))
  return make(name, images, labels, num_train, class_names=classes, augmentation=augmentation)


DATASETS: Mapping[str, Callable[..., Dataset]] = {
  "digits": digits,
  "mnist": prepared,
  "fashion_mnist": prepared,
  "cifar10": prepared,
  "cifar100": prepared,
  "cifar100_coarse": superclasses,
  "utkface": faces,
  "npz": npz,
  "synthetic": synthetic,
  "identities": identities,
}


def own_split(count: int) -> tuple[np.ndarray, int]:
  """Order `count` samples of a source without a test part: train samples, then the test fifth.

  Returns the order, int64 [count], and the size of the train part (procedure of spec data_models
  1.1).
  """
  order = np.random.default_rng(123).permutation(count)
  num_test = int(0.2 * count)
  return np.concatenate([order[num_test:], order[:num_test]]), count - num_test
