"""Sets in any form that a caller has, brought to pairs (x, y): pairs, positions, batches."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmu.api import notices
from jaxmu.data import positions, rows, spool
from jaxmu.data.samples import as_array
from jaxmu.errors import DataError, shown
from jaxmu.quantities import bytes_text


def pairs(given: Mapping[str, Any], data: Any = None) -> dict[str, Any]:
  """Return a pair for each set that was given (the others are None), or what it is instead of one.

  Args:
    given: set -> pair, or batches; where there is `data`, positions in it or a mask.
    data: a pair (x, y) of all samples; x may lie in a file, and is not copied.

  Raises:
    DataError: positions that are none, or in two sets; batches that do not belong together.
  """
  present = {name: each for name, each in given.items() if each is not None}
  if data is not None:
    return dict(given) | _of_data(data, present)
  for name, each in present.items():
    _refuse_positions(name, each)
  found = {name: _spooled(name, each) for name, each in present.items() if spool.is_batches(each)}
  return dict(given) | found


def _refuse_positions(name: str, given: Any) -> None:
  """Raise `DataError` for positions, or a mask, without what they are of."""
  array = hasattr(given, "dtype") and np.ndim(given) == 1
  plain = isinstance(given, list | tuple) and len(given) and isinstance(given[0], int | np.integer)
  if isinstance(given, range) or array or plain:
    raise DataError(
      f"{name} is {shown(given)}, positions without data; expected a pair (x, y), or data=(x, y)"
    )


def _of_data(data: Any, given: Mapping[str, Any]) -> dict[str, tuple[rows.Rows, np.ndarray]]:
  if not isinstance(data, tuple | list) or len(data) != 2:
    raise DataError(f"data must be a pair (x, y), got {type(data).__name__}")
  x, y = data[0], as_array("data", data[1])
  x = rows.of("data", x if rows.is_lazy(x) else as_array("data", x))
  if y.shape != (len(x),):
    raise DataError(f"data: labels have shape {y.shape}; expected ({len(x)},), one for each sample")
  places = {name: positions.read(name, each, len(x)) for name, each in given.items()}
  positions.check_apart(places)
  return {name: (x.chosen(own), y[own]) for name, own in places.items()}


def _spooled(name: str, given: Any) -> tuple[np.ndarray, np.ndarray]:
  x, y = spool.spooled(name, given)
  notices.warn(
    [
      f"{name} was read once into a temporary file of {bytes_text(x.nbytes)}, as its batches are "
      "needed in many orders; memory-mapped arrays need no copy"
    ]
  )
  return x, y
