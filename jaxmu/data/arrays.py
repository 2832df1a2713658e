"""What a data set is: uint8 images and integer labels on the host, train samples first, then test.

Everything that enters the package passes `make`, so the rooms to the right may trust shapes and
ranges.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

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

  @property
  def num_classes(self) -> int:
    """Count the classes C."""
    return len(self.class_names)

  @property
  def image_size(self) -> int:
    """Give the height (= width) of the stored images in pixels."""
    return int(self.images.shape[1])

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
) -> Dataset:
  """Check the arrays and build a `Dataset` from them.

  Images are uint8 [N, H, W, 1 or 3] with H = W (or [N, H, W] for grey ones), labels integer [N].
  Mean and standard deviation are computed from the first `num_train` images where absent. Raises
  `DataError`.
  """
  images = check_images(name, images)
  classes = len(class_names) if class_names is not None else None
  labels = check_labels(name, labels, len(images), classes)
  if not 0 < num_train < len(images):
    raise DataError(
      f"data set '{name}': num_train is {num_train}; expected 1 to {len(images) - 1}, so that both "
      "the training and the test part have samples"
    )
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
    num_train=int(num_train),
    class_names=class_names or tuple(str(c) for c in range(int(labels.max()) + 1)),
    mean=_per_channel(name, "mean", mean, channels),
    std=_per_channel(name, "std", std, channels),
    augmentation=augmentation,
    channels=channels,
    original_labels=labels,
    indices=np.arange(len(images)) if indices is None else np.asarray(indices, np.int64),
  )


def check_images(name: str, images: np.ndarray) -> np.ndarray:
  """Return the images as uint8 [N, H, W, 1 or 3]; raise `DataError` for anything else."""
  images = np.asarray(images)
  if images.dtype != np.uint8:
    if images.dtype.kind == "f" and np.isnan(images).any():
      count = int(np.isnan(images).reshape(len(images), -1).any(axis=1).sum())
      raise DataError(
        f"data set '{name}': {count} of {len(images)} images contain NaN; expected uint8 pixels "
        "(0 to 255): remove or repair these images, then convert"
      )
    raise DataError(
      f"data set '{name}': images have dtype {images.dtype}; expected uint8 pixels (0 to 255): "
      "convert them, for values in [0, 1] with (255 * images).round().astype('uint8')"
    )
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.shape[1] != images.shape[2]:
    raise DataError(
      f"data set '{name}': images have shape {images.shape}; expected [N, H, W, 1 or 3] with "
      "H = W: channels come last, so transpose or crop them"
    )
  if len(images) == 0 or images.shape[1] == 0:
    raise DataError(f"data set '{name}': images have shape {images.shape}; expected some pixels")
  return images


def check_labels(name: str, labels: np.ndarray, count: int, classes: int | None) -> np.ndarray:
  """Return the labels as int32 [count], all in 0..C-1; raise `DataError` where they are not."""
  labels = np.asarray(labels)
  if labels.shape != (count,):
    raise DataError(
      f"data set '{name}': labels have shape {labels.shape}; expected ({count},), one per image"
    )
  if labels.dtype.kind not in "iu":
    raise DataError(
      f"data set '{name}': labels have dtype {labels.dtype}; expected integers 0..C-1: convert them"
    )
  low, high = int(labels.min()), int(labels.max())
  if low < 0 or (classes is not None and high >= classes):
    bad = low if low < 0 else high
    where = int(np.flatnonzero(labels == bad)[0])
    upper = "C-1" if classes is None else classes - 1
    raise DataError(
      f"data set '{name}': label {bad} at position {where} is out of range; expected 0..{upper}: "
      "renumber the classes from 0"
    )
  if high == low or (classes is not None and classes < 2):
    raise DataError(
      f"data set '{name}': all labels are {low}; expected at least 2 classes to tell apart"
    )
  return labels.astype(np.int32)


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


def _per_channel(name: str, what: str, values, channels: int) -> tuple[float, ...]:
  """Give one finite value per channel of the network's input; a single one is repeated."""
  values = tuple(float(v) for v in np.atleast_1d(values))
  if len(values) == 1:
    values *= channels
  if len(values) != channels or not np.isfinite(values).all():
    raise DataError(
      f"data set '{name}': {what} is {values}; expected {channels} finite numbers, one per channel"
    )
  if what == "std" and min(values) <= 0:
    raise DataError(
      f"data set '{name}': std is {values}; expected positive numbers (are all pixels of a channel "
      "alike?): give std in the file, or drop that channel"
    )
  return values
