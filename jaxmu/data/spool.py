"""Batches that are made one after another, kept in a temporary file: methods read a set many times,
in orders of their own.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Set
from typing import IO, Any

import numpy as np

from jaxmu.data.samples import as_array
from jaxmu.errors import DataError, short, shown


def is_batches(given: Any) -> bool:
  """Tell whether something yields batches, or makes what does, and is no pair of arrays."""
  if isinstance(given, str | bytes | Mapping | Set | tuple | list) or hasattr(given, "shape"):
    return False
  return callable(given) or hasattr(given, "__iter__")


def spooled(name: str, given: Any) -> tuple[np.ndarray, np.ndarray]:
  """Return all batches as one pair: x [n, ...] in a file mapped to memory, y int [n].

  The file is in the folder for temporary ones (TMPDIR), without a name, and goes with the array.

  Args:
    given: yields pairs (x [b, ...], y [b]), or is called without arguments for what does.

  Raises:
    DataError: a batch is no pair, or differs in form from the first; there is none; or the disk is
      full.
  """
  batches = _called(name, given) if callable(given) else given
  if not isinstance(batches, Iterable):
    raise DataError(f"{name}: called, it gave {shown(batches)}; expected batches (x, y)")
  with tempfile.TemporaryFile(prefix="jaxmu-") as file:
    labels: list[np.ndarray] = []
    form: tuple[Any, ...] | None = None
    for number, batch in enumerate(batches):
      x, y = _pair(f"{name}: batch {number}", batch)
      form = form or (x.dtype, x.shape[1:])
      if (x.dtype, x.shape[1:]) != form:
        raise DataError(
          f"{name}: batch {number} holds {x.dtype} {x.shape[1:]}, the first {form[0]} {form[1]}; "
          "expected one form"
        )
      _write(name, file, x)
      labels.append(y)
    if form is None or not sum(map(len, labels)):
      raise DataError(f"{name} yields no sample; expected batches (x, y)")
    file.flush()
    whole = np.concatenate(labels)
    return np.memmap(file, form[0], "r", shape=(len(whole), *form[1])), whole


def _called(name: str, make: Callable[[], Any]) -> Any:
  try:
    return make()
  except TypeError as error:
    raise DataError(
      f"{name}: calling {shown(make)} failed ({short(str(error))}); expected a function without "
      "arguments that returns batches (x, y)"
    ) from error


def _pair(name: str, batch: Any) -> tuple[np.ndarray, np.ndarray]:
  if not isinstance(batch, tuple | list) or len(batch) != 2:
    raise DataError(f"{name} must be a pair (x, y), got {shown(batch)}")
  x, y = (as_array(name, each) for each in batch)
  if x.ndim < 2 or y.shape != (len(x),):
    raise DataError(
      f"{name} has x of shape {x.shape} and y of shape {y.shape}; expected [b, ...] and [b]"
    )
  return x, y


def _write(name: str, file: IO[bytes], x: np.ndarray) -> None:
  try:
    file.write(np.ascontiguousarray(x).data)
  except OSError as error:
    raise DataError(
      f"{name}: batches do not fit into {tempfile.gettempdir()} ({short(str(error))}); set TMPDIR "
      "to a folder with more space, or give memory-mapped arrays"
    ) from error
