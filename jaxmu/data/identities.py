"""A task of faces without faces: images have a class that is learnt, and an identity.

An image is the pattern of its class, the weaker pattern of its identity, and noise, smoothed as
natural images are. Identities of the test part occur nowhere else, so what a network knows of the
identities that it trained on shows against them. For requests to forget a person.
"""

import numpy as np

from jaxmu.data.arrays import Dataset, make

CLASSES, IDENTITIES, IMAGES = 8, 120, 12  # images of each identity
TEST = 24  # identities of the test part
SIZE = 16  # pixels
CLASS, IDENTITY, NOISE = 0.45, 0.5, 0.8  # weights of the patterns


def identities(name: str = "identities", **_) -> Dataset:
  """Make 1,440 grey images of 120 identities in 8 classes, the same bytes everywhere.

  `Dataset.groups` numbers the identities: 96 of the training part, 12 of each class, then 24 of the
  test part, 3 of each class.
  """
  rng = np.random.default_rng(0)
  of_class = np.arange(IDENTITIES) % CLASSES
  patterns = _smooth(rng, CLASSES), _smooth(rng, IDENTITIES)
  train = (IDENTITIES - TEST) * IMAGES
  person = np.repeat(np.arange(IDENTITIES), IMAGES)
  order = np.concatenate([rng.permutation(train), train + rng.permutation(TEST * IMAGES)])
  person = person[order]
  labels = of_class[person]
  noise = _smooth(rng, len(person))
  mixed = CLASS * patterns[0][labels] + IDENTITY * patterns[1][person] + NOISE * noise
  images = np.round(255 * (0.5 + 0.16 * mixed).clip(0, 1)).astype(np.uint8)[..., None]
  names = tuple(f"class {c}" for c in range(CLASSES))
  return make(name, images, labels, train, class_names=names, groups=person)


def _smooth(rng: np.random.Generator, count: int) -> np.ndarray:
  """Draw fields [count, SIZE, SIZE] of unit variance, with neighbours alike.

  A mean over 3 x 3 pixels of whole numbers is exact, so no machine rounds otherwise.
  """
  drawn = rng.integers(-128, 129, (count, SIZE + 2, SIZE + 2))
  rows = drawn[:, :-2] + drawn[:, 1:-1] + drawn[:, 2:]
  sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
  return sums / (3 * np.sqrt((257**2 - 1) / 12))
