"""Ranges of hyper-parameters as a caller gives them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxmu.errors import MethodError, closest, shown
from jaxmu.settings.ranges import Unfit
from jaxmu.training.hyper import Distribution, Hyper
from jaxmu.training.method import Method


def read(method: Method, given: Mapping[str, Any]) -> dict[str, Distribution]:
  """Return distributions by name: of a pair (low, high), a list of choices, or one value.

  A pair is drawn as the method's own range is: on a logarithmic scale where that is, else evenly,
  and whole where the hyper-parameter is.

  Raises:
    MethodError: an unknown name, or a value that the method does not take.
  """
  found = {}
  for name, value in given.items():
    if name not in method.live:
      raise MethodError(
        f"{method.name} has no hyper-parameter '{name}' to draw; {closest(name, method.live)}"
      )
    try:
      found[name] = _distribution(method.hyper[name], value)
    except Unfit as expected:
      raise MethodError(
        f"{method.name}: ranges of {name} must be (low, high), a list of choices or a value, each "
        f"{expected}; got {shown(value)}"
      ) from None
  return found


def _distribution(hyper: Hyper, given: Any) -> Distribution:
  usual = hyper.amended or hyper.search or Distribution("uniform")
  if isinstance(given, tuple) and len(given) == 2:
    low, high = (_single(hyper.read(value)) for value in given)
    if isinstance(low, bool | str) or not low < high:
      raise Unfit("a number, the first below the second")
    log = usual.kind == "log_uniform" and low > 0
    kind = "integer" if isinstance(low, int) else "log_uniform" if log else "uniform"
    return dataclasses.replace(usual, kind=kind, low=low, high=high, choices=())
  if isinstance(given, list):
    if len(given) < 2:
      raise Unfit("one of at least two")
    choices = tuple(_single(hyper.read(value)) for value in given)
    return dataclasses.replace(usual, kind="categorical", choices=choices, at_most="")
  return Distribution("constant", _single(hyper.read(given)), None)


def _single(value: Any) -> Any:
  """Return the number of a tuple of one, as draws have it."""
  return value[0] if isinstance(value, tuple) and len(value) == 1 else value
