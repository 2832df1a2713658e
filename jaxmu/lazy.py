"""Names of a package that are imported when they are first used, so that its import stays quick."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def door(
  package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
  """Return a package's `__getattr__` and `__dir__` (PEP 562).

  Args:
    names: name -> module that has it, or is it.
  """

  def get(name: str) -> Any:
    if name not in names:
      raise AttributeError(f"module '{package}' has no attribute '{name}'")
    module = importlib.import_module(names[name])
    return module if names[name] == f"{package}.{name}" else getattr(module, name)

  return get, lambda: sorted(names)
