"""What a data set is: uint8 images and integer labels on the host, train samples first, then test.

Everything that enters the package passes `make`, so the rooms to the right may trust shapes and
ranges.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxmu.data.dataset_checks import (
  check_class_names,
  check_every_class,
  check_groups,
  check_images,
  check_labels,
  check_num_train,
  check_per_channel,
  check_text,
)
from jaxmu.errors import DataError, closest

AUGMENTATIONS = ("crop_flip", "flip", "none")


@dataclass(frozen=True, eq=False)
class Dataset:
  """Hold N images and labels in the official order: train samples first, then test."""

  name: str
  images: np.ndarray  # uint8 [N, H, W, 1 or 3]
  labels: np.ndarray  # int32 [N]
  num_train: int  # size of the official training part
  class_names: tuple[str, ...]
  mean: tuple[float, ...]  # per channel of the network's input, for images scaled to [0, 1]
  std: tuple[float, ...]
  augmentation: str  # "crop_flip" | "flip" | "none"
  channels: int  # of the network's input; one stored channel is repeated on the device
  original_labels: np.ndarray  # int32 [N]; differs from labels only where random ones were given
  indices: np.ndarray  # int64 [N]: position of each sample in the official order
  groups: np.ndarray | None = None  # int32 [N]: user, person, ... of each sample, where known

  @property
  def num_classes(self) -> int:
    """Count the classes C."""
    return len(self.class_names)

  @property
  def image_size(self) -> int:
    """Give the height of the stored images in pixels."""
    return int(self.images.shape[1])

  @property
  def input_shape(self) -> tuple[int, int, int]:
    """Give height, width and channels of the network's input."""
    return int(self.images.shape[1]), int(self.images.shape[2]), self.channels

  @property
  def transform(self) -> str:
    """Say how a network reads the images, as exactly as float32 does; members depend on it."""
    numbers = lambda values: " ".join(f"{value:.7g}" for value in values)
    return (
      f"mean {numbers(self.mean)}, std {numbers(self.std)}, augmentation {self.augmentation}, "
      f"{self.channels} channels, {self.num_classes} classes"
    )

  @cached_property
  def sha256(self) -> str:
    """Give the SHA-256 over the bytes of the images, then of the labels."""
    digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
    digest.update(np.ascontiguousarray(self.labels, "<i4").data)
    return digest.hexdigest()


def make(
  name: str,
  images: np.ndarray,
  labels: np.ndarray,
  num_train: int,
  *,
  class_names: tuple[str, ...] | None = None,
  mean: tuple[float, ...] | None = None,
  std: tuple[float, ...] | None = None,
  augmentation: str = "none",
  channels: int | None = None,
  indices: np.ndarray | None = None,
  groups: np.ndarray | None = None,
) -> Dataset:
  """Check the arrays and build a `Dataset` from them.

  Images are uint8 [N, H, W, 1 or 3] (or [N, H, W] for grey ones), labels integer [N].
  Without `class_names` there are as many classes as the largest label says, and each must have a
  training sample. `groups` numbers the user or person of each sample, int [N]. Mean and standard
  deviation are computed from the first `num_train` images where absent. Raises `DataError`.
  """
  images = check_images(name, images)
  named = class_names is not None
  class_names = check_class_names(name, class_names) if named else ()
  labels = check_labels(name, labels, len(images), len(class_names) if named else None, indices)
  num_train = check_num_train(name, num_train, len(images))
  if not named:
    class_names = tuple(str(c) for c in range(int(labels.max()) + 1))
    check_every_class(name, labels[:num_train], len(class_names))
  augmentation = check_text(name, "augmentation", augmentation)
  if augmentation not in AUGMENTATIONS:
    raise DataError(
      f"data set '{name}': unknown augmentation '{augmentation}'; "
      f"{closest(augmentation, AUGMENTATIONS)}"
    )
  channels = channels or images.shape[-1]
  if mean is None or std is None:
    measured = channel_statistics(images[:num_train])
    mean = measured[0] if mean is None else mean
    std = measured[1] if std is None else std
  return Dataset(
    name=name,
    images=images,
    labels=labels,
    num_train=num_train,
    class_names=class_names,
    mean=check_per_channel(name, "mean", mean, channels),
    std=check_per_channel(name, "std", std, channels),
    augmentation=augmentation,
    channels=channels,
    original_labels=labels,
    indices=np.arange(len(images)) if indices is None else np.asarray(indices, np.int64),
    groups=None if groups is None else check_groups(name, groups, len(images)),
  )


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Compute mean and standard deviation per channel of uint8 images scaled to [0, 1]."""
  levels = np.arange(256) / 255
  means, stds = [], []
  for channel in range(images.shape[-1]):  # by histogram: exact, and no float copy of the images
    share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
    mean = float(share @ levels)
    means.append(mean)
    stds.append(float(np.sqrt(share @ (levels - mean) ** 2)))
  return tuple(means), tuple(stds)
