"""UTKFace from a folder of the user's: faces, with the age in the name of the file.

Its licence asks everybody to fetch the data; nothing is downloaded. Files are read in the order of
their names, where the reference takes that of the file system (spec data_models 1.1).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmu.data.tfds_source import data_root
from jaxmu.errors import DataError

FOLDER = "UTKFace"  # below the folder of prepared data sets, where no other is given
SIZE = 224
CLASSES = ("0-19", "20-39", "40-59", "60-79", "80 and more")
YEARS = 20  # of a class


def read(folder: str | None, data_dir: str | None = None) -> tuple[np.ndarray, np.ndarray]:
  """Return all images, uint8 [N, 224, 224, 3], and their classes, int64 [N], by name of file.

  Raises:
    DataError: there is no such folder, or no picture in it; or some files have no age in their
      names or are no pictures, which are counted and named.
  """
  root = Path(folder).expanduser() if folder else data_root(data_dir) / FOLDER
  names = sorted((path.name for path in root.glob("*.jpg")), key=str.encode)
  if not names:
    raise DataError(
      f"{root} has no *.jpg files; expected the aligned and cropped faces of UTKFace, which "
      "everybody must fetch: set --config.data.path=FOLDER"
    )
  labels = [age_class(name) for name in names]
  _refuse(root, [name for name, label in zip(names, labels) if label is None], NO_AGE)
  images = np.empty((len(names), SIZE, SIZE, 3), np.uint8)
  _refuse(root, [name for k, name in enumerate(names) if not _decode(root / name, images[k])], TORN)
  return images, np.array(labels)


NO_AGE = "have no age before the first '_' of their names"
TORN = "cannot be read as pictures"


def age_class(name: str) -> int | None:
  """Return the class of a file by its name, AGE_GENDER_RACE_DATE.jpg; None where it has no age."""
  first = name.partition(".")[0].partition("_")[0]
  return min(int(first) // YEARS, len(CLASSES) - 1) if first.isdecimal() else None


def _decode(path: Path, out: np.ndarray) -> bool:
  from PIL import Image

  try:
    with Image.open(path) as picture:
      resized = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
  except (OSError, ValueError, Image.DecompressionBombError):
    return False
  out[:] = np.asarray(resized)
  return True


def _refuse(root: Path, wrong: Sequence[str], words: str) -> None:
  if wrong:
    named = ", ".join(wrong[:3]) + (", ..." if len(wrong) > 3 else "")
    raise DataError(f"{len(wrong)} files of {root} {words} ({named}); remove or replace them")
