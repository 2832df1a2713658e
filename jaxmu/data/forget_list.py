"""A forget set of one's own: a file of positions in the training part, `config.data.forget`.

`.npy` holds an integer array [n]; `.txt` whole numbers apart by spaces, commas or lines (# begins a
comment); `.csv` one column, or one that is named `index` or `position`; `.npz` an array `forget`,
as a data file may have it. Positions count the samples as the data set stores them
(`Dataset.indices`), before any subset is taken. Nothing is unpickled.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from jaxmu.data import npz_file
from jaxmu.errors import DataError, short
from jaxmu.settings.ranges import POSITIONS

COLUMNS = ("index", "position")
KIND = npz_file.Kind("forget list", "data.forget", "forget=...")
Entry = tuple[int, str]  # line of a file, a number as it stands there


@dataclass(frozen=True, eq=False)
class ForgetList:
  """Hold the positions [n] of a file, int64, each once, and the line of each (none in `.npy`)."""

  path: str
  positions: np.ndarray
  lines: Sequence[int] = ()

  @property
  def sha256(self) -> str:
    """Give the SHA-256 over the sorted positions (little-endian int64): the list's identity."""
    return hashlib.sha256(np.sort(self.positions).astype("<i8").tobytes()).hexdigest()

  def rows(self, indices: np.ndarray, num_train: int) -> np.ndarray:
    """Return where the listed samples lie in a data set, sorted int64 [n].

    Args:
      indices: position of each sample of the data set, [N], as in `Dataset.indices`.
      num_train: how many of them are the training part.

    Raises:
      DataError: one of them is no training sample, or all training samples are listed.
    """
    rows, held = self._find(indices)
    for i in np.flatnonzero(~held | (rows >= num_train))[:1]:
      self._refuse_stranger(int(i), bool(held[i]), np.sort(indices[:num_train]))
    if len(rows) == num_train:
      raise DataError(
        f"forget list {self.path} names all {num_train} training samples, which leaves none to "
        "retain; give a shorter list"
      )
    return np.sort(rows).astype(np.int64)

  def rows_anywhere(self, indices: np.ndarray) -> np.ndarray:
    """Return what `rows` does, of training and test samples; DataError where there is none."""
    rows, held = self._find(indices)
    for i in np.flatnonzero(~held)[:1]:
      raise _wrong(
        self.path,
        _place(self.lines, int(i)),
        self.positions[i],
        f"is no sample; expected one of the {len(indices)} samples of the data",
      )
    return np.sort(rows).astype(np.int64)

  def _find(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a row of the data set for each position, and whether it is that sample."""
    order = np.argsort(indices, kind="stable")
    places = np.searchsorted(indices, self.positions, sorter=order).clip(max=len(indices) - 1)
    rows = order[places]
    return rows, indices[rows] == self.positions

  def _refuse_stranger(self, i: int, held: bool, train: np.ndarray) -> NoReturn:
    what = "is in the test part" if held else "is no training sample"
    if train[-1] == len(train) - 1:
      expected = f"0..{len(train) - 1}, the training part"
    else:
      expected = (
        f"one of the {len(train)} training samples that are left (config.data.subset_train keeps "
        "some; an npz file without num_train lends a fifth to the test part)"
      )
    raise _wrong(
      self.path, _place(self.lines, i), self.positions[i], f"{what}; expected {expected}"
    )


def read(path: str) -> ForgetList:
  """Read a file of positions.

  Raises:
    DataError: no such file, of another kind, damaged, empty, or with an entry that is no position
      or stands there twice.
  """
  reader = READERS.get(Path(path).suffix.lower())
  if reader is None:
    raise DataError(
      f"forget list {path} has an ending that is not known; expected {', '.join(READERS)}"
    )
  try:
    listed = reader(path)
  except DataError:
    raise
  except FileNotFoundError as error:
    raise DataError(
      f"forget list {path} does not exist; give the path of a file: --config.data.forget=FILE"
    ) from error
  except Exception as error:  # numpy, csv, codecs: what damaged bytes raise has no end
    raise DataError(
      f"forget list {path} cannot be read ({short(f'{type(error).__name__}: {error}')}); expected "
      "positions as a plain .npy array, a .csv or a .txt file"
    ) from error
  return _checked(listed)


def from_array(path: str, array: np.ndarray) -> ForgetList:
  """Take the positions of an array; raise `DataError` as `read` does.

  Args:
    path: what messages call it.
  """
  return _checked(_of_array(path, array))


def identify(path: str) -> str:
  """Return the SHA-256 of a file's sorted positions; raise `DataError` as `read` does."""
  return read(path).sha256


def has_own(path: str) -> bool:
  """Tell whether a data file names samples to forget; False where it cannot be read."""
  try:
    return npz_file.FORGET in npz_file.forms(path)
  except DataError:  # told by whoever reads the data
    return False


def _read_member(path: str) -> ForgetList:
  found = npz_file.read(path, KIND, only=(npz_file.FORGET,))
  if npz_file.FORGET not in found:
    raise DataError(
      f"forget list {path} has no array 'forget'; expected the positions to forget there, or a "
      ".npy, .csv or .txt file of them"
    )
  return _of_array(f"{path}[forget]", found[npz_file.FORGET])


def _read_array(path: str) -> ForgetList:
  with Path(path).expanduser().open("rb") as stream:
    return _of_array(path, np.lib.format.read_array(stream, allow_pickle=False))


def _of_array(path: str, array: np.ndarray) -> ForgetList:
  if array.dtype.kind not in "iu" or array.ndim != 1:
    mask = array.dtype.kind == "b"
    raise DataError(
      f"forget list {path} holds {array.dtype} of shape {array.shape}; expected whole numbers [n]: "
      + ("save numpy.flatnonzero(mask)" if mask else "save a list of positions as int64")
    )
  for i in np.flatnonzero((array < POSITIONS.low) | (array > POSITIONS.high))[:1]:
    raise _wrong(path, _place((), int(i)), array[i], f"expected a whole number {POSITIONS}")
  return ForgetList(path, array.astype(np.int64))


def _read_text(path: str) -> ForgetList:
  with Path(path).expanduser().open(encoding="utf-8-sig") as lines:
    words = (
      (number, word)
      for number, line in enumerate(lines, 1)
      for word in line.partition("#")[0].replace(",", " ").split()
    )
    return _parse(path, words)


def _read_csv(path: str) -> ForgetList:
  with Path(path).expanduser().open(encoding="utf-8-sig", newline="") as lines:
    return _parse(path, _column(path, csv.reader(lines)))


def _column(path: str, rows: Any) -> Iterator[Entry]:
  """Yield one column of a `csv.reader`: the one that is named, or the only one."""
  first = next((row for row in rows if any(map(str.strip, row))), [])
  names = [name.strip() for name in first]
  named = [k for k, name in enumerate(names) if name.lower() in COLUMNS]
  if len(named) > 1 or (len(names) > 1 and not named):
    raise DataError(
      f"forget list {path} has columns {short(', '.join(names))}; expected one column, or one that "
      f"is named {' or '.join(COLUMNS)}: remove or rename the others"
    )
  chosen = named[0] if named else 0
  if names and not named and re.match(r"[-+.\d]", names[0]):  # no header, or a strange one
    yield rows.line_num, names[0]
  for row in rows:
    if any(map(str.strip, row)):
      yield rows.line_num, row[chosen].strip() if chosen < len(row) else ""


def _parse(path: str, words: Iterator[Entry]) -> ForgetList:
  positions, lines = [], []
  for line, word in words:
    number = _number(word)
    if number is None or not POSITIONS.holds(number):
      raise _wrong(path, f"line {line}", word, f"expected a whole number {POSITIONS}")
    positions.append(number)
    lines.append(line)
  return ForgetList(path, np.array(positions, np.int64), lines)


def _number(word: str) -> int | None:
  """Read a whole number in decimal digits; None for anything else."""
  digits = word.removeprefix("-")
  if not (digits.isascii() and digits.isdecimal()):
    return None
  return int(word) if len(digits) < 20 else POSITIONS.high + 1  # Python reads some thousand digits


def _checked(listed: ForgetList) -> ForgetList:
  """Refuse a list of nothing, and repeats."""
  if len(listed.positions) == 0:
    raise DataError(f"forget list {listed.path} is empty; expected at least one position")
  _refuse_repeats(listed)
  return listed


def _refuse_repeats(listed: ForgetList) -> None:
  order = np.argsort(listed.positions, kind="stable")
  values = listed.positions[order]
  for i in np.flatnonzero(values[1:] == values[:-1])[:1]:
    first, again = (_place(listed.lines, int(k)) for k in order[i : i + 2])
    raise _wrong(
      listed.path, again, values[i], f"stands in {first} as well; remove the repeats of it"
    )


def _place(lines: Sequence[int], i: int) -> str:
  return f"line {lines[i]}" if lines else f"element {i}"


def _wrong(path: str, place: str, given: object, reason: str) -> DataError:
  return DataError(f"forget list {path}, {place}: {short(str(given)) or 'nothing'}; {reason}")


READERS: Mapping[str, Callable[[str], ForgetList]] = {
  ".npy": _read_array,
  ".csv": _read_csv,
  ".txt": _read_text,
  ".npz": _read_member,
}
