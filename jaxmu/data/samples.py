"""Images and labels that a caller of the Python interface gives: checked before any cast."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmu.data import rows
from jaxmu.errors import DataError, short, shown

FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")  # widened to float32, which holds each of their numbers


class Samples(NamedTuple):
  """One set: x [n, ...], float and normalised or as they are stored, maybe `Rows`; y int [n]."""

  x: Any
  y: np.ndarray


def as_array(name: str, given: Any) -> np.ndarray:
  """Return an array, tensor or (nested) list as NumPy has it; raise `DataError` for what is none.

  Tensors of PyTorch are told by what they can do, so that PyTorch need not be there.
  """
  if isinstance(given, np.ma.MaskedArray):
    raise DataError(
      f"{name}: got a masked array, whose mask would be ignored; expected a plain one: leave the "
      "masked samples out, or fill them"
    )
  try:
    if hasattr(given, "detach"):
      given = given.detach().cpu()
      if "bfloat16" in str(given.dtype):  # PyTorch's, which NumPy does not know
        given = given.float()
      given = given.numpy()
    array = np.asarray(given)
  except (ValueError, TypeError, RuntimeError) as error:
    raise DataError(
      f"{name}: {type(given).__name__} cannot be read as an array ({short(str(error))}); expected "
      "numbers, all rows of equal length"
    ) from error
  if array.dtype.kind == "O":
    raise DataError(f"{name}: expected an array of numbers, got {shown(given)}")
  return array


def check_images(name: str, given: Any, stored: str = "normalised") -> Any:
  """Return images, or other samples, as an array [n, ...] of finite numbers; raise `DataError`.

  What lies on a disk and is no array of NumPy's becomes `rows.Rows`, and is not read whole.

  Args:
    stored: "normalised" for what a network takes as it is, "uint8" for pixels, "anything" for
      numbers of which a function of the caller's makes its input.
  """
  x = rows.of(name, given) if rows.is_lazy(given) else as_array(name, given)
  if x.ndim < 2 or 0 in x.shape:
    got = x.shape if x.ndim else shown(given)
    raise DataError(f"{name}: images must have shape [n >= 1, ...], got {got}")
  if stored == "normalised" and x.dtype.name in HALVES:
    x = x.of_type(np.float32) if isinstance(x, rows.Rows) else x.astype(np.float32)
  _check_type(name, x.dtype, stored)
  bad = _not_finite(x)
  if len(bad):
    raise DataError(f"{name}: {len(bad)} images hold NaN or infinity, the first at index {bad[0]}")
  return x


def _check_type(name: str, dtype: np.dtype, stored: str) -> None:
  """Raise `DataError` for numbers of another type than how they are stored promises."""
  if stored == "anything":
    if dtype.kind not in "biuf" and dtype.name not in HALVES:
      raise DataError(f"{name}: images must be real numbers, got {dtype.name}")
  elif stored == "uint8":
    if dtype != np.uint8:
      raise DataError(
        f"{name}: mean= and std= are of uint8 images, got {dtype.name}; normalise them yourself, "
        "or give preprocess="
      )
  elif dtype.name not in FLOATS:
    if "float" in dtype.name:
      raise DataError(
        f"{name}: images must be float32, as weights and losses are, got {dtype.name}; convert "
        "them with x.astype('float32')"
      )
    remedy = "mean= and std=, or preprocess=" if dtype == np.uint8 else "preprocess="
    raise DataError(
      f"{name}: images must be float and normalised, got {dtype.name}; or give {remedy}"
    )


def _not_finite(x: Any) -> np.ndarray:
  """Return the positions of samples that hold NaN or infinity; a large array may lie in a file."""
  if x.dtype.kind in "biu":
    return np.zeros(0, int)
  fine = lambda part: np.isfinite(part).all(axis=tuple(range(1, x.ndim)))
  return np.flatnonzero(~np.concatenate([fine(x[block]) for block in rows.blocks(x)]))


def check_sets(given: Mapping[str, Any], stored: str = "normalised") -> dict[str, Samples]:
  """Return the sets, name -> (x, y), with images of one shape and a whole number as each label.

  Args:
    stored: how images are stored, as for `check_images`.

  Raises:
    DataError: what was given is no pair, or one of its arrays has another form.
  """
  sets = {}
  for name, pair in given.items():
    if not isinstance(pair, tuple | list) or len(pair) != 2:
      raise DataError(f"{name} must be a pair (x, y), got {type(pair).__name__}")
    x = check_images(name, pair[0], stored)
    first = next(iter(sets.values())).x if sets else x
    if x.shape[1:] != first.shape[1:]:
      raise DataError(
        f"{name}: images have shape {x.shape[1:]}, those of another set {first.shape[1:]}"
      )
    if x.dtype != first.dtype and stored != "normalised":
      raise DataError(f"{name}: images are {x.dtype.name}, those of another set {first.dtype.name}")
    y = as_array(name, pair[1])
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
      raise DataError(
        f"{name}: labels must be integers of shape ({len(x)},), got {y.dtype} {y.shape}"
      )
    sets[name] = Samples(x, y)
  return sets


def check_classes(sets: Mapping[str, Samples], classes: int) -> None:
  """Raise `DataError` where a label is none of the network's classes 0..C-1."""
  for name, (_, y) in sets.items():
    if y.min() < 0 or y.max() >= classes:
      raise DataError(f"{name}: labels must lie in 0..{classes - 1}, got {y.min()}..{y.max()}")
