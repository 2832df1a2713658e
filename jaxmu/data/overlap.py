"""Samples that lie in two sets at once: what is forgotten must not be trained on as retained."""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxmu.data import rows
from jaxmu.data.samples import Samples
from jaxmu.errors import DataError

# Real data sets hold a few images twice, and a random split then parts such twins. More than this
# share of the smaller set are no twins: a set was not taken out of the other.
TWINS = 0.01


class Shared(NamedTuple):
  """Samples that two sets share: how many of the smaller one, and where the first of them lies.

  Position `here` of `small`, which holds `size` samples, is position `there` of `large`.
  """

  one: str
  other: str
  count: int
  small: str
  size: int
  here: int
  large: str
  there: int

  @property
  def few(self) -> bool:
    """Whether they can be images that the data hold twice."""
    return self.count <= TWINS * self.size

  def __str__(self) -> str:
    return (
      f"{self.one} and {self.other} share {self.count} of the {self.size} samples of {self.small} "
      f"({self.small} {self.here} is {self.large} {self.there})"
    )


def check_disjoint(sets: Mapping[str, Samples]) -> list[str]:
  """Return a sentence for every two sets that share few samples: equal in all pixels and the label.

  Raises:
    DataError: two sets share more than `TWINS` of the smaller one.
  """
  sentences = []
  for found in shared(sets):
    if not found.few:
      raise DataError(f"{found}; expected disjoint sets: take the shared samples out of one")
    sentences.append(f"{found}: few enough to be images that the data hold twice")
  return sentences


def shared(sets: Mapping[str, Samples]) -> list[Shared]:
  """Return what every two sets share, equal in all pixels and the label; nothing where they don't.

  Images of floats are compared as float32, bit by bit; 50,000 of 32 x 32 x 3 take about a second.
  They are read block by block and not kept, and what is remembered of each is 8 bytes.
  """
  if len(sets) < 2:
    return []
  keys = {name: _keys(samples) for name, samples in sets.items()}
  found = []
  for one, other in combinations(keys, 2):
    small, large = sorted((one, other), key=lambda name: len(keys[name]))
    pairs = _shared(sets[small], keys[small], sets[large], keys[large])
    if pairs:
      here, there = pairs[0]
      found.append(Shared(one, other, len(pairs), small, len(keys[small]), here, large, there))
  return found


def _keys(samples: Samples) -> np.ndarray:
  """Return a key for each sample, int64 [n]; those of different samples nearly always differ."""
  found = np.empty(len(samples.y), np.int64)
  for block in rows.blocks(samples.x):
    pairs = zip(samples.x[block], samples.y[block])
    found[block] = [hash((_bytes(image), int(label))) for image, label in pairs]
  return found


def _bytes(image: np.ndarray) -> bytes:
  floating = image.dtype.kind == "f"  # of several widths, where sets come from several places
  return (image.astype(np.float32, copy=False) if floating else image).tobytes()


def _shared(
  small: Samples, keys: np.ndarray, large: Samples, others: np.ndarray
) -> list[tuple[int, int]]:
  """Return (position, position in the larger set) of the samples of a set that are in both."""
  order = np.argsort(others, kind="stable")
  last = np.searchsorted(others, keys, side="right", sorter=order) - 1
  places = order[last.clip(min=0)]
  likely = np.flatnonzero(others[places] == keys).tolist()
  pairs = [(here, int(places[here])) for here in likely]
  return [pair for pair in pairs if _content(small, pair[0]) == _content(large, pair[1])]


def _content(samples: Samples, place: int) -> tuple[bytes, int]:
  return _bytes(samples.x[place]), int(samples.y[place])
