"""A user's own `.npz` file: its arrays, and both layouts brought to one."""

import zipfile
from pathlib import Path

import numpy as np

from jaxmu.errors import DataError


def read(path: str) -> dict[str, np.ndarray]:
  try:
    with np.load(Path(path).expanduser()) as file:
      return dict(file)
  except FileNotFoundError as error:
    raise DataError(
      f"data file {path} does not exist; give the path of an .npz file: --config.data.path=FILE.npz"
    ) from error
  except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
    raise DataError(
      f"data file {path} is not a readable .npz file of plain arrays ({error}); write it with "
      "numpy.savez(path, images=..., labels=..., num_train=...)"
    ) from error


def join_parts(
  arrays: dict[str, np.ndarray], path: str
) -> tuple[np.ndarray, np.ndarray, int | None]:
  """Bring both layouts of an npz file to (images, labels, size of the train part if known)."""
  halves = ("train_images", "train_labels", "test_images", "test_labels")
  if {"images", "labels"} <= arrays.keys():
    num_train = arrays.get("num_train")
    images, labels = arrays["images"], arrays["labels"]
  elif set(halves) <= arrays.keys():
    shapes = [arrays[key].shape[1:] for key in ("train_images", "test_images")]
    if shapes[0] != shapes[1] or arrays["train_images"].dtype != arrays["test_images"].dtype:
      raise DataError(
        f"data file {path}: train images are {arrays['train_images'].dtype} {shapes[0]}, test "
        f"images {arrays['test_images'].dtype} {shapes[1]}; expected the same shape and type"
      )
    num_train = len(arrays["train_images"])
    _same_length(path, arrays["train_images"], arrays["train_labels"])
    images = np.concatenate([arrays["train_images"], arrays["test_images"]])
    labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
  else:
    raise DataError(
      f"data file {path} holds {', '.join(sorted(arrays)) or 'nothing'}; expected images and "
      f"labels, or {', '.join(halves)}"
    )
  _same_length(path, images, labels)
  return images, labels, None if num_train is None else int(num_train)


def _same_length(path: str, images: np.ndarray, labels: np.ndarray) -> None:
  if images.ndim == 0 or labels.ndim == 0 or len(images) != len(labels):
    raise DataError(
      f"data file {path} has images of shape {images.shape} and labels of shape {labels.shape}; "
      "expected one label per image"
    )
