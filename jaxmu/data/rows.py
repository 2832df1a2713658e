"""Samples that stay where they are: rows of arrays on the host, read when they are asked for."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmu.errors import DataError, short, shown

ALIGNED = 64  # bytes; arrays that begin elsewhere are copied by XLA
LARGE = 2**28  # bytes that are no longer copied without need
BLOCK = 2**24  # numbers that are read together where all rows are looked at


class Part(NamedTuple):
  """Rows of one array: those at `places`, or all of them where that is None."""

  array: Any
  places: np.ndarray | None = None

  def __len__(self) -> int:
    return self.array.shape[0] if self.places is None else len(self.places)

  def at(self, index: np.ndarray) -> np.ndarray:
    """Return rows [m, ...], read in the order of the array, each once: files read forwards.

    Raises:
      DataError: the array cannot be read (any more).
    """
    places = index if self.places is None else self.places[index]
    wanted, back = np.unique(places, return_inverse=True)
    whole = len(wanted) and wanted[-1] - wanted[0] == len(wanted) - 1
    try:
      found = np.asarray(self.array[wanted[0] : wanted[-1] + 1] if whole else self.array[wanted])
    except Exception as error:  # of whichever library the array is
      raise DataError(
        f"samples cannot be read ({short(f'{type(error).__name__}: {error}')}); expected an array "
        "that stays readable until the call returns"
      ) from error
    return found if np.array_equal(wanted, places) else found[back]


class Rows:
  """Rows [n, ...] of one array or of several, one after the other.

  An array here is anything with `shape`, `dtype` and rows by slices and by increasing positions: of
  NumPy, in memory or memory-mapped, of h5py, zarr and their like. `rows[k]`, `rows[a:b]`,
  `rows[positions]` and `whole` read them, and nothing else does.

  Attributes:
    parts: where the rows are.
    dtype: in which they are returned.
  """

  def __init__(self, parts: Sequence[Part], dtype: Any = None) -> None:
    self.parts = tuple(parts)
    self.dtype = np.dtype(dtype or np.result_type(*(np.dtype(p.array.dtype) for p in parts)))
    self._ends = np.cumsum([len(part) for part in parts])

  @property
  def shape(self) -> tuple[int, ...]:
    return (int(self._ends[-1]), *self.parts[0].array.shape[1:])

  @property
  def ndim(self) -> int:
    return len(self.shape)

  @property
  def size(self) -> int:
    return int(np.prod(self.shape, dtype=np.int64))

  @property
  def nbytes(self) -> int:
    return self.size * self.dtype.itemsize

  def __len__(self) -> int:
    return self.shape[0]

  def __array__(self, *_: Any, **__: Any) -> np.ndarray:
    """Refuse to be read whole by accident; `whole` does it."""
    raise TypeError("rows are read by rows[...] or whole()")

  def __getitem__(self, key: Any) -> np.ndarray:
    """Return one row, or the rows [m, ...] of a slice or of positions, in the order asked for."""
    if isinstance(key, int | np.integer):
      return self[np.array([key])][0]
    index = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
    owner = np.searchsorted(self._ends, index, side="right")
    if len(self.parts) == 1 or (len(owner) and (owner == owner[0]).all()):
      own = int(owner[0]) if len(owner) else 0
      return self.parts[own].at(index - self._start(own)).astype(self.dtype, copy=False)
    found = np.empty((len(index), *self.shape[1:]), self.dtype)
    for own in np.unique(owner):
      found[owner == own] = self.parts[own].at(index[owner == own] - self._start(own))
    return found

  def _start(self, part: int) -> int:
    return int(self._ends[part]) - len(self.parts[part])

  def whole(self) -> np.ndarray:
    """Read all rows, block by block, into one array [n, ...] that jax takes as it lies on a CPU."""
    room = np.empty(self.nbytes + ALIGNED, np.uint8)
    start = -room.ctypes.data % ALIGNED
    found = room[start : start + self.nbytes].view(self.dtype).reshape(self.shape)
    for block in blocks(self):
      found[block] = self[block]
    return found

  def chosen(self, places: np.ndarray) -> "Rows":
    """Return some rows of a single array, in this order; nothing is read."""
    (part,) = self.parts
    return Rows([Part(part.array, places)], self.dtype)

  def of_type(self, dtype: Any) -> "Rows":
    """Return the same rows in another type."""
    return Rows(self.parts, dtype)


def is_lazy(given: Any) -> bool:
  """Tell whether something is rows already, or an array on a disk that NumPy would read whole.

  Arrays of NumPy and jax, tensors and data frames are none: they are in memory.
  """
  if isinstance(given, Rows):
    return True
  known = ("detach", "addressable_shards", "iloc")  # of PyTorch, jax, pandas
  if isinstance(given, np.ndarray | np.generic) or any(hasattr(given, name) for name in known):
    return False
  if not all(hasattr(given, name) for name in ("shape", "dtype", "__getitem__")):
    return False
  try:
    np.dtype(given.dtype)
    return isinstance(given.shape, tuple) and all(int(size) == size for size in given.shape)
  except (TypeError, ValueError):
    return False


def of(name: str, array: Any) -> Rows:
  """Return all rows of an array as they lie; raise `DataError` where its rows cannot be read."""
  if isinstance(array, Rows):
    return array
  if not array.shape or not array.shape[0]:
    raise DataError(f"{name}: samples must have shape [n >= 1, ...], got {tuple(array.shape)}")
  try:
    first = np.asarray(array[0:1])
  except Exception as error:  # of whichever library the array is
    raise DataError(
      f"{name}: rows of {type(array).__name__} cannot be read by array[0:1] "
      f"({short(f'{type(error).__name__}: {error}')}); expected an array with rows"
    ) from error
  if first.shape != (1, *array.shape[1:]) or first.dtype != np.dtype(array.dtype):
    raise DataError(
      f"{name}: array[0:1] of {shown(array)} is {shown(first)}; expected its first row"
    )
  return Rows([Part(array)])


def joined(arrays: Sequence[Any]) -> Rows:
  """Return arrays [n_i, ...] and rows one after another; nothing is read."""
  parts = [part for array in arrays for part in (getattr(array, "parts", None) or [Part(array)])]
  return Rows(parts, np.result_type(*(array.dtype for array in arrays)))


def together(arrays: Sequence[Any]) -> Any:
  """Concatenate arrays, or join them as rows where one is rows or they are large."""
  large = any(isinstance(a, Rows) for a in arrays) or sum(a.nbytes for a in arrays) > LARGE
  return joined(arrays) if large else np.concatenate(arrays)


def blocks(array: Any) -> Sequence[slice]:
  """Cut an array or rows [n, ...] into slices that are small enough to be read one by one."""
  each = max(1, BLOCK * len(array) // max(array.size, 1))
  return [slice(start, start + each) for start in range(0, len(array), each)]
