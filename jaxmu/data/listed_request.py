"""A request of one's own: a `.npz` file of positions, `config.scenario.path`.

`forget` and, where it is given, `control` are integer arrays [n] of positions as those of
`config.data.forget` (`forget_list`): `forget` of training samples, `control` of any others.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from jaxmu.data import forget_list, npz_file
from jaxmu.data.forget_list import ForgetList
from jaxmu.errors import DataError, closest, short

ARRAYS = FORGET, CONTROL = "forget", "control"
KIND = npz_file.Kind("forget list", "scenario.path", "forget=..., control=...")


class Listed(NamedTuple):
  """Rows of a data set, sorted int64 [n]; control None: the whole test part."""

  forget: np.ndarray
  control: np.ndarray | None = None


class ListedRequest(NamedTuple):
  """The positions of a file."""

  forget: ForgetList
  control: ForgetList | None

  @property
  def sha256(self) -> str:
    """Give the SHA-256 over both lists, in any order and of any integers: their identity."""
    if self.control is None:
      return self.forget.sha256
    both = f"{self.forget.sha256} {self.control.sha256}"
    return hashlib.sha256(both.encode()).hexdigest()

  def rows(self, indices: np.ndarray, num_train: int) -> Listed:
    """Return where the samples lie in a data set, as `ForgetList.rows` does.

    Raises:
      DataError: a forgotten sample is no training sample, or a control sample is not in the data.
    """
    control = None if self.control is None else self.control.rows_anywhere(indices)
    return Listed(self.forget.rows(indices, num_train), control)


def read(path: str) -> ListedRequest:
  """Read a file of positions.

  Raises:
    DataError: no such file, of another kind, damaged, without positions to forget or with arrays
      that are not read; or a sample stands there twice.
  """
  arrays = npz_file.read(path, KIND)
  unknown = sorted(arrays.keys() - set(ARRAYS))
  if unknown:
    raise DataError(
      f"forget list {path} holds '{short(unknown[0])}', which is not read; "
      f"{closest(unknown[0], ARRAYS)}; rename or remove it"
    )
  if FORGET not in arrays:
    raise DataError(
      f"forget list {path} holds {', '.join(arrays) or 'nothing'}; expected the positions to forget"
      ": numpy.savez(path, forget=...)"
    )
  found = {name: forget_list.from_array(f"{path}[{name}]", arrays[name]) for name in arrays}
  made = ListedRequest(found[FORGET], found.get(CONTROL))
  if made.control is not None:
    _refuse_overlap(path, made.forget.positions, made.control.positions)
  return made


def identify(path: str) -> str:
  """Return the SHA-256 of a file's positions; raise `DataError` as `read` does."""
  return read(path).sha256


def _refuse_overlap(path: str, forget: np.ndarray, control: np.ndarray) -> None:
  both = np.intersect1d(forget, control)
  if len(both):
    raise DataError(
      f"forget list {path} names {len(both)} samples both to forget and as control, the first is "
      f"{both[0]}; expected control samples that nobody trains on: remove them from one"
    )
