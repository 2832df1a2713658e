"""What the parts of a data set must look like; everything that enters the package is checked here."""

import numpy as np

from jaxmu.errors import DataError


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


def check_per_channel(name: str, what: str, values, channels: int) -> tuple[float, ...]:
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
