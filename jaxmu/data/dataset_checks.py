"""What the parts of a data set must look like. Every check looks before anything is cast."""

from typing import Any

import numpy as np

from jaxmu.errors import DataError, short, shown
from jaxmu.settings.ranges import POSITIONS

MAX_CLASSES = 65_536  # a larger label is an identifier; the head would have an output for each
LEAST_STD = 1e-4  # below it all pixels are alike, and normalised ones would go beyond 10,000


def check_images(name: str, images: np.ndarray) -> np.ndarray:
  """Return the images as uint8 [N, H, W, 1 or 3]; raise `DataError` for anything else."""
  images = np.asarray(images)
  if images.dtype != np.uint8:
    if images.ndim and images.dtype.kind == "f" and np.isnan(images).any():
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
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise DataError(
      f"data set '{name}': images have shape {images.shape}; expected [N, H, W, 1 or 3]: "
      "channels come last, so transpose them"
    )
  if images.size == 0:
    raise DataError(f"data set '{name}': images have shape {images.shape}; expected some pixels")
  return images


def check_labels(
  name: str,
  labels: np.ndarray,
  count: int,
  classes: int | None,
  positions: np.ndarray | None = None,
) -> np.ndarray:
  """Return the labels as int32 [count], all in 0..C-1; raise `DataError` where they are not.

  `positions` says where each stands in the user's own order, if it is not this one.
  """
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
  last = MAX_CLASSES - 1 if classes is None else classes - 1
  if low < 0 or high > last:
    bad = low if low < 0 else high
    places = np.flatnonzero(labels == bad)
    where = int(places[0] if positions is None else np.min(positions[places]))
    upper = f"C-1, at most {last}" if classes is None else last
    raise DataError(
      f"data set '{name}': label {bad} at position {where} is out of range; expected 0..{upper}: "
      "renumber the classes from 0"
    )
  if high == low or (classes is not None and classes < 2):
    raise DataError(
      f"data set '{name}': all labels are {low}; expected at least 2 classes to tell apart"
    )
  return labels.astype(np.int32)


def check_every_class(name: str, train_labels: np.ndarray, classes: int) -> None:
  """Refuse gaps in the numbers of the classes, where only the labels say how many there are.

  A network would get an output for every number, and one that no sample trains is no class.
  """
  used = np.bincount(train_labels, minlength=classes)
  if used.all():
    return
  raise DataError(
    f"data set '{name}': no training sample has label {int(used.argmin())}, while labels reach "
    f"{classes - 1}; expected 0..C-1 with samples of each: renumber the classes without gaps, or "
    "name all of them in class_names"
  )


def check_groups(name: str, given: Any, total: int) -> np.ndarray:
  """Return the group of each sample, int32 [N]; raise `DataError` for anything else."""
  groups = np.asarray(given)
  if groups.shape != (total,) or groups.dtype.kind not in "iu":
    raise DataError(
      f"data set '{name}': groups are {groups.dtype} of shape {groups.shape}; expected a whole "
      f"number for each of the {total} samples: number users, persons or sources from 0"
    )
  low, high = int(groups.min()), int(groups.max())
  if low < 0 or high > POSITIONS.high:
    raise DataError(
      f"data set '{name}': groups reach from {low} to {high}; expected whole numbers from 0 to "
      f"{POSITIONS.high}: number them anew"
    )
  return groups.astype(np.int32)


def check_num_train(name: str, given: Any, total: int) -> int:
  """Return the size of the training part, 1 to total - 1; raise `DataError` for anything else."""
  value = np.asarray(given)
  if value.shape != () or value.dtype.kind not in "iu":
    text = shown(value) if value.shape else short(f"{given} ({value.dtype})")
    raise DataError(
      f"data set '{name}': num_train is {text}; expected a whole number from 1 to "
      f"{total - 1}: store it as an int"
    )
  if not 0 < int(value) < total:
    raise DataError(
      f"data set '{name}': num_train is {int(value)}; expected 1 to {total - 1}, so that both the "
      "training and the test part have samples"
    )
  return int(value)


def check_class_names(name: str, given: Any) -> tuple[str, ...]:
  """Return the names of the classes; raise `DataError` unless they are different texts."""
  names = np.asarray(given)
  if names.ndim != 1 or names.dtype.kind not in "Uiu":
    raise DataError(
      f"data set '{name}': class_names are {names.dtype} of shape {names.shape}; expected a list "
      "of texts, one for each class"
    )
  names = tuple(str(each) for each in names)
  if not 1 < len(names) <= MAX_CLASSES or len(set(names)) < len(names):
    raise DataError(
      f"data set '{name}': class_names are {len(names)}, {len(set(names))} of them different; "
      f"expected 2 to {MAX_CLASSES} different names, one for each class"
    )
  return names


def check_text(name: str, what: str, given: Any) -> str:
  """Return one text; raise `DataError` for anything else."""
  value = np.asarray(given)
  if value.shape != () or value.dtype.kind != "U":
    raise DataError(
      f"data set '{name}': {what} is {value.dtype} of shape {value.shape}; expected one text"
    )
  return str(value)


def check_per_channel(name: str, what: str, given: Any, channels: int) -> tuple[float, ...]:
  """Give one number per channel of the network's input; a single one is repeated.

  `what` is "mean" or "std", both of images in [0, 1], so neither is above 1. Raises `DataError`.
  """
  array = np.asarray(given)
  if array.ndim > 1 or array.dtype.kind not in "iuf":
    raise DataError(
      f"data set '{name}': {what} is {array.dtype} of shape {array.shape}; expected {channels} "
      "finite numbers, one per channel"
    )
  values = tuple(float(v) for v in np.atleast_1d(array))
  given = values if len(values) <= 4 else f"{len(values)} numbers"
  if len(values) == 1:
    values *= channels
  if len(values) != channels or not np.isfinite(values).all():
    raise DataError(
      f"data set '{name}': {what} is {given}; expected {channels} finite numbers, one per channel"
    )
  if what == "std" and min(values) < LEAST_STD:
    raise DataError(
      f"data set '{name}': std is {given}; expected positive numbers of at least {LEAST_STD} (are "
      "all pixels of a channel alike?): give std in the file, or drop that channel"
    )
  if min(values) < 0 or max(values) > 1:
    raise DataError(
      f"data set '{name}': {what} is {given}; expected that of images scaled to [0, 1]: divide "
      "that of bytes by 255"
    )
  return values
