"""Images and labels that a caller of the Python interface gives: checked before any cast."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmu.errors import DataError, short, shown

FLOATS = ("float32", "float64")


class Samples(NamedTuple):
  """One set: x float, normalised, [n, H, W, C]; y int [n]."""

  x: np.ndarray
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
      given = given.detach().cpu().numpy()
    array = np.asarray(given)
  except (ValueError, TypeError, RuntimeError) as error:
    half = "bfloat16" in str(getattr(given, "dtype", ""))  # PyTorch's, which NumPy does not know
    remedy = "convert it to float32" if half else "expected numbers, all rows of equal length"
    raise DataError(
      f"{name}: {type(given).__name__} cannot be read as an array ({short(str(error))}); {remedy}"
    ) from error
  if array.dtype.kind == "O":
    raise DataError(f"{name}: expected an array of numbers, got {shown(given)}")
  return array


def check_images(name: str, given: Any) -> np.ndarray:
  """Return images as a float array [n, H, W, C] of finite numbers; raise `DataError`."""
  x = as_array(name, given)
  if x.ndim != 4 or 0 in x.shape:
    raise DataError(f"{name}: images must have shape [n >= 1, H, W, C], got {x.shape}")
  if x.dtype.name not in FLOATS:
    half = "float" in x.dtype.name
    wanted = "float32, as weights and losses are" if half else "float and normalised"
    convert = "; convert them with x.astype('float32')" if half else ""
    raise DataError(f"{name}: images must be {wanted}, got {x.dtype.name}{convert}")
  bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2, 3)))
  if len(bad):
    raise DataError(f"{name}: {len(bad)} images hold NaN or infinity, the first at index {bad[0]}")
  return x


def check_sets(given: Mapping[str, Any]) -> dict[str, Samples]:
  """Return the sets, name -> (x, y), with images of one shape and a whole number as each label.

  Raises:
    DataError: what was given is no pair, or one of its arrays has another form.
  """
  sets = {}
  for name, pair in given.items():
    if not isinstance(pair, tuple | list) or len(pair) != 2:
      raise DataError(f"{name} must be a pair (x, y), got {type(pair).__name__}")
    x = check_images(name, pair[0])
    first = next(iter(sets.values())).x if sets else x
    if x.shape[1:] != first.shape[1:]:
      raise DataError(
        f"{name}: images have shape {x.shape[1:]}, those of another set {first.shape[1:]}"
      )
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
