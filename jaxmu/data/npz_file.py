"""A user's own `.npz` file: its arrays, and both layouts brought to one."""

import contextlib
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from jaxmu.errors import DataError, closest, short

T = TypeVar("T")
WHOLE = ("images", "labels")
HALVES = ("train_images", "train_labels", "test_images", "test_labels")
GROUPS = ("groups", "train_groups", "test_groups")  # of the first layout, and of the second
FORGET = "forget"  # positions of those to be forgotten, which `forget_list` reads
NAMES = ("class_names", "classes")  # two words for the names of the classes
OPTIONS = ("mean", "std", *NAMES, "augmentation", FORGET)
KNOWN = (*WHOLE, "num_train", *HALVES, *GROUPS, *OPTIONS)


class Kind(NamedTuple):
  """What a file is for, the entry of a config that names it ("": none), and what it may hold."""

  name: str
  entry: str
  example: str


DATA = Kind("data file", "data.path", "images=..., labels=..., num_train=...")


class Form(NamedTuple):
  """What the header of an array says."""

  shape: tuple[int, ...]
  dtype: np.dtype


def read(
  path: str, kind: Kind = DATA, only: Collection[str] | None = None
) -> dict[str, np.ndarray]:
  """Return the arrays of a file by name; nothing is unpickled.

  Args:
    only: names of those that are read, where the file has them; None: all.

  Raises:
    DataError: no such file, damaged or of another kind, or with members that are no arrays.
  """
  with _opened(path, kind) as file:
    names = [name for name in file if only is None or name in only]
    members = {name: file[name] for name in names}
  strange = [name for name in names if not isinstance(members[name], np.ndarray)]
  if strange:
    raise _unreadable(path, f"its member '{strange[0]}' is no array", kind)
  if len(members) < len(names):
    raise _unreadable(path, "two of its members have the same name", kind)
  return members


def forms(path: str, kind: Kind = DATA) -> dict[str, Form]:
  """Return shape and type of every array of a file by name, by their headers alone.

  Raises:
    DataError: as `read` does.
  """
  with _opened(path, kind) as file:
    return {name: _form(file.zip, name) for name in file}


def _form(archive: zipfile.ZipFile, name: str) -> Form:
  with archive.open(f"{name}.npy") as stream:
    version = np.lib.format.read_magic(stream)
    later = np.lib.format.read_array_header_2_0
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else later
    shape, _, dtype = header(stream)
  return Form(shape, dtype)


@contextlib.contextmanager
def _opened(path: str, kind: Kind) -> Iterator[np.lib.npyio.NpzFile]:
  """Open an archive; what reading it raises becomes a `DataError`."""
  try:
    with Path(path).expanduser().open("rb") as stream:
      if not zipfile.is_zipfile(stream):  # np.load would take a single array, or speak of pickles
        raise zipfile.BadZipFile("no archive, as numpy.savez writes it")
      stream.seek(0)
      with np.load(stream) as file:
        yield file
  except FileNotFoundError as error:
    example = f": --config.{kind.entry}=FILE.npz" if kind.entry else ""
    raise DataError(
      f"{kind.name} {path} does not exist; give the path of an .npz file{example}"
    ) from error
  except Exception as error:  # zipfile, zlib, tokenize ...: what damaged bytes raise has no end
    raise _unreadable(path, short(f"{type(error).__name__}: {error}"), kind) from error


def join_parts(
  arrays: dict[str, np.ndarray], called: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | int | None]:
  """Bring both layouts of an npz file to (images, labels, size of the train part if given).

  Args:
    called: what holds the arrays, for messages.

  Raises:
    DataError: arrays are missing, do not belong together, or are not read by anybody.
  """
  whole, halves = (set(layout) <= arrays.keys() for layout in (WHOLE, HALVES))
  if not (whole or halves):
    raise DataError(
      f"{called} holds {', '.join(sorted(arrays)) or 'nothing'}; expected images and "
      f"labels, or {', '.join(HALVES)}"
    )
  _refuse_unread(arrays, called, (*WHOLE, "num_train") if whole else HALVES, whole)
  if whole:
    images, labels = arrays["images"], arrays["labels"]
    _same_length(called, images, labels)
    return images, labels, arrays.get("num_train")
  images, labels = ([arrays[f"{part}_{what}"] for part in ("train", "test")] for what in WHOLE)
  for pair in zip(images, labels):
    _same_length(called, *pair)
  _same_form(called, "images", *images)
  _same_form(called, "labels", *labels)
  return np.concatenate(images), np.concatenate(labels), len(images[0])


def groups(arrays: dict[str, np.ndarray], called: str) -> np.ndarray | None:
  """Return the group of every sample, training samples first; None where the file has none.

  Raises:
    DataError: one part has groups and the other has none, or they are no lists.
  """
  if "groups" in arrays:
    return arrays["groups"]
  halves = [name for name in GROUPS[1:] if name in arrays]
  if not halves:
    return None
  if len(halves) == 1:
    (other,) = set(GROUPS[1:]) - set(halves)
    raise DataError(
      f"{called} holds {halves[0]} and no {other}; expected groups of both parts, or none"
    )
  parts = [arrays[name] for name in halves]
  for name, part, images in zip(halves, parts, ("train_images", "test_images")):
    if part.shape != (len(arrays[images]),):
      raise DataError(
        f"{called}: {name} has shape {part.shape}; expected one group for each of the "
        f"{len(arrays[images])} images"
      )
  return np.concatenate(parts)


def class_names(arrays: Mapping[str, T], called: str) -> T | None:
  """Return the names of the classes (or their form), None where the file has none; `DataError`."""
  found = [name for name in NAMES if name in arrays]
  if len(found) > 1:
    raise DataError(
      f"{called} holds {' and '.join(found)}, two words for the names of the classes; remove one"
    )
  return arrays[found[0]] if found else None


def _refuse_unread(
  arrays: dict[str, np.ndarray], called: str, layout: tuple[str, ...], whole: bool
) -> None:
  """Refuse what nothing would read: its owner believes that it counts."""
  unknown = sorted(arrays.keys() - set(KNOWN))
  if unknown:
    raise DataError(
      f"{called} holds '{unknown[0]}', which is not read; {closest(unknown[0], KNOWN)}; "
      "rename or remove it (retain and validation sets are drawn as config.data says)"
    )
  other = sorted(arrays.keys() - {*layout, *(GROUPS[:1] if whole else GROUPS[1:]), *OPTIONS})
  if other:
    raise DataError(
      f"{called} holds {', '.join(layout)} and also {', '.join(other)}; expected either "
      f"images, labels and num_train or {', '.join(HALVES)}: remove what does not count"
    )


def _same_form(called: str, what: str, train: np.ndarray, test: np.ndarray) -> None:
  """Refuse parts that cannot be joined as they are: joining would cast, or fail."""
  forms = [(part.dtype.name, part.shape[1:]) for part in (train, test)]
  # Integers of different size join exactly, but signed with unsigned 64 bits become floats.
  whole = train.dtype.kind in "iu" and test.dtype.kind in "iu"
  alike = what == "labels" and whole and np.result_type(train, test).kind in "iu"
  if forms[0][1] != forms[1][1] or (forms[0][0] != forms[1][0] and not alike):
    raise DataError(
      f"{called}: train {what} are {forms[0][0]} {forms[0][1]}, test {what} {forms[1][0]} "
      f"{forms[1][1]}; expected the same shape and type"
    )


def _same_length(called: str, images: np.ndarray, labels: np.ndarray) -> None:
  if images.ndim == 0 or labels.ndim == 0 or len(images) != len(labels):
    raise DataError(
      f"{called} has images of shape {images.shape} and labels of shape {labels.shape}; "
      "expected one label per image"
    )


def _unreadable(path: str, reason: str, kind: Kind) -> DataError:
  return DataError(
    f"{kind.name} {path} is not a readable .npz file of plain arrays ({reason}); write it with "
    f"numpy.savez(path, {kind.example})"
  )
