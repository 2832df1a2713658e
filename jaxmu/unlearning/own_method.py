"""Methods of a user's own, by reference or as values: checked before anything is done with them."""

import re
from typing import Any

from jaxmu.errors import MethodError, shown
from jaxmu.own_code import references
from jaxmu.training.hyper import Hyper
from jaxmu.training.method import Method

SETS = frozenset({"retain", "forget", "val"})
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")  # names folders, and parts of them


def read(reference: str) -> Method:
  """Return the method that a reference names; `MethodError` where there is none."""
  found = references.find(reference, "method", MethodError)
  if not isinstance(found, Method):
    raise MethodError(
      f"method {reference} is {shown(found)}; expected a value jaxmu.training.method.Method(...)"
    )
  return checked(found, f"method {reference}")


def checked(method: Method, called: str) -> Method:
  """Return a method whose parts are of the promised types; `MethodError` for others."""
  if not isinstance(method.name, str) or not NAME.fullmatch(method.name):
    raise MethodError(
      f"{called} has the name {shown(method.name)}; expected a letter, then at most 39 letters, "
      "digits, '_' or '-', as it names folders"
    )
  for field in ("label", "title", "summary", "paper"):
    if not isinstance(getattr(method, field), str):
      raise MethodError(f"{called}: {field} is {shown(getattr(method, field))}; expected a text")
  unknown = _texts(method.needs) - SETS
  if unknown:
    raise MethodError(
      f"{called} needs {shown(min(unknown))}; expected sets out of {', '.join(sorted(SETS))}"
    )
  for name, hyper in dict(method.hyper).items():
    if not isinstance(hyper, Hyper):
      raise MethodError(
        f"{called}: hyper-parameter '{name}' is {shown(hyper)}; expected a "
        "jaxmu.training.hyper.Hyper"
      )
  if not callable(method.phases):
    raise MethodError(f"{called}: phases is {shown(method.phases)}; expected a function of options")
  return method


def _texts(needs: Any) -> set[str]:
  return {str(one) for one in needs}
