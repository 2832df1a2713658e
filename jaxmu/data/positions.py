"""Sets as positions in one array, lists of them or masks, as a caller of the Python interface has
them.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from jaxmu.data.samples import as_array
from jaxmu.errors import DataError, shown


def read(name: str, given: Any, count: int) -> np.ndarray:
  """Return the positions of a set, int64 [n], in the order given; those of a mask are increasing.

  Args:
    given: positions [n], each once, or a mask, bool [count].

  Raises:
    DataError: it is something else, empty, out of range, or names a sample twice.
  """
  wanted = f"positions 0..{count - 1} in data, or a mask of shape ({count},)"
  if isinstance(given, tuple | list) and len(given) == 2 and np.ndim(given[0]) > 1:
    raise DataError(f"{name} is a pair (x, y), beside data=; expected {wanted}")
  found = as_array(name, list(given) if isinstance(given, range) else given)
  if found.dtype == bool:
    if found.shape != (count,):
      raise DataError(f"{name}: the mask has shape {found.shape}; expected {wanted}")
    found = np.flatnonzero(found)
  if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
    raise DataError(f"{name}: got {shown(found)}; expected {wanted}")
  if not found.size:
    raise DataError(f"{name} is empty; expected at least one of the {count} samples of data")
  if found.min() < 0 or found.max() >= count:
    far = found[(found < 0) | (found >= count)][0]
    raise DataError(f"{name} holds position {far}; expected {wanted}")
  found = found.astype(np.int64)
  values, counts = np.unique(found, return_counts=True)
  if len(values) < len(found):
    most = counts.argmax()
    raise DataError(
      f"{name} holds position {values[most]} {counts[most]} times; expected each sample at most "
      "once: remove the repeats"
    )
  return found


def check_apart(sets: Mapping[str, np.ndarray]) -> None:
  """Raise `DataError` where two sets hold the same position."""
  for one, other in combinations(sets, 2):
    both = np.intersect1d(sets[one], sets[other], assume_unique=True)
    if len(both):
      raise DataError(
        f"{one} and {other} share {len(both)} positions, the first is {both[0]}; expected disjoint "
        "sets: take them out of one"
      )
