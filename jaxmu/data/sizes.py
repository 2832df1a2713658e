"""The sizes of data sets that are known without reading them."""

import numpy as np

from jaxmu.data import npz_outline
from jaxmu.data.transforms import subset_positions
from jaxmu.errors import SettingsError
from jaxmu.settings import Settings

Image = tuple[int, int, int]  # height, width and channels of the network's input
# name -> train, test, image size, channels of the network input, classes (data_models.md 1)
SIZES = {
  "digits": (1438, 359, 8, 1, 10),
  "mnist": (60_000, 10_000, 32, 3, 10),
  "fashion_mnist": (60_000, 10_000, 32, 3, 10),
  "cifar10": (50_000, 10_000, 32, 3, 10),
  "cifar100": (50_000, 10_000, 32, 3, 100),
  "cifar100_coarse": (50_000, 10_000, 32, 3, 20),
  "utkface": (18_967, 4_741, 224, 3, 5),
  "synthetic": (400, 100, 8, 3, 4),
  "identities": (1152, 288, 16, 1, 8),
}


def dimensions(settings: Settings) -> tuple[int, np.ndarray, Image, int]:
  """Return training samples, positions of all samples, the form of an image, and classes.

  Positions are those of the samples as the data set stores them, training samples first.

  Raises:
    SettingsError: the sizes are not known, or smaller than the subset.
    DataError: of data set `npz`, there is no file, or it holds something else.
  """
  if settings.dataset == "npz":
    return _of_file(settings)
  if settings.dataset not in SIZES:
    raise SettingsError(
      f"--plan does not know the size of data set '{settings.dataset}' without reading it; "
      f"known: {', '.join(SIZES)}"
    )
  train, test, size, channels, classes = SIZES[settings.dataset]
  kept = _subset("subset_train", settings.data.subset_train, train)
  _subset("subset_test", settings.data.subset_test, test)
  chosen = settings.data
  indices = subset_positions(train, train + test, chosen.subset_train, chosen.subset_test)
  return kept, indices, (size, size, channels), classes


def _of_file(settings: Settings) -> tuple[int, np.ndarray, Image, int]:
  found, chosen = npz_outline.read(settings.data.path), settings.data
  total = len(found.indices)
  kept = _subset("subset_train", chosen.subset_train, found.num_train)
  _subset("subset_test", chosen.subset_test, total - found.num_train)
  places = subset_positions(found.num_train, total, chosen.subset_train, chosen.subset_test)
  return kept, found.indices[places], found.image, found.classes


def _subset(name: str, wanted: int, available: int) -> int:
  """Return how many samples of a part are kept; 0 keeps all."""
  if wanted > available:
    raise SettingsError(
      f"config.data.{name} is {wanted}; expected 0 (keep all) or 1 to {available}, the number "
      "there is"
    )
  return wanted or available
