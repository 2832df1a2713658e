"""What a data file holds, by the headers of its arrays: no image is read."""

from typing import NamedTuple

import numpy as np

from jaxmu.data import npz_file
from jaxmu.data.dataset_checks import check_labels, check_num_train
from jaxmu.data.datasets import own_split
from jaxmu.errors import DataError


class NpzOutline(NamedTuple):
  """Sizes of a data set.

  Attributes:
    num_train: samples of the training part.
    indices: position of each sample in the file, int [N], training samples first.
    image: height, width and channels of an image.
    classes: how many there are.
  """

  num_train: int
  indices: np.ndarray
  image: tuple[int, int, int]
  classes: int


def read(path: str) -> NpzOutline:
  """Return the sizes of a file; labels are read where it does not name its classes.

  Whether the arrays are what they should be, `datasets.load` tells.

  Raises:
    DataError: no such file, damaged, or without images and labels.
  """
  forms = npz_file.forms(path)
  whole = set(npz_file.WHOLE) <= forms.keys()
  if not whole and not set(npz_file.HALVES) <= forms.keys():
    raise DataError(
      f"data file {path} holds {', '.join(sorted(forms)) or 'nothing'}; expected images and "
      f"labels, or {', '.join(npz_file.HALVES)}"
    )
  images = [forms[name].shape for name in (("images",) if whole else npz_file.HALVES[::2])]
  if len(images[0]) not in (3, 4):
    raise DataError(f"data file {path}: images have shape {images[0]}; expected [N, H, W, C]")
  total, channels = sum(shape[0] for shape in images), images[0][3] if len(images[0]) == 4 else 1
  num_train, indices = images[0][0], np.arange(total)
  if whole:
    given = npz_file.read(path, only=("num_train",)).get("num_train")
    if given is None:
      indices, num_train = own_split(total)
    else:
      num_train = check_num_train("npz", given, total)
  image = (images[0][1], images[0][2], channels)
  return NpzOutline(num_train, indices, image, _classes(path, forms, whole))


def _classes(path: str, forms: dict[str, npz_file.Form], whole: bool) -> int:
  names = npz_file.class_names(forms, f"data file {path}")
  if names is not None:
    return int(np.prod(names.shape))
  parts = npz_file.read(path, only=("labels",) if whole else npz_file.HALVES[1::2])
  labels = [check_labels("npz", each, len(each), None, None) for each in parts.values()]
  return int(max(each.max() for each in labels)) + 1
