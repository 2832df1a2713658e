"""Names of a user's own code: MODULE:NAME, or what an installed package calls it."""

import functools
from collections.abc import Collection, Mapping
from importlib import metadata
from typing import Any

from jaxmu.errors import SettingsError

WORDS = {"models": "network", "datasets": "data set", "methods": "method"}  # kinds of names
ENTRY_POINTS = "jaxmu."  # begins the groups in which packages name theirs: jaxmu.models ...


def is_reference(name: Any) -> bool:
  """Tell whether a name is one of a user's own code, MODULE:NAME, and no registered one."""
  return isinstance(name, str) and ":" in name


def named(kind: str, name: str, known: Collection[str] = ()) -> str | None:
  """Return the reference behind a name; None where it is none, and no installed package has it.

  Args:
    kind: of `WORDS`.
    known: names of that kind that jaxmu has itself.

  Raises:
    SettingsError: several have that name.
  """
  if is_reference(name):
    return name
  owners = installed(kind).get(name, {})
  if len(owners) + (name in known) > 1:
    whose = [*(["jaxmu"] if name in known else []), *sorted(owners.values())]
    raise SettingsError(
      f"{WORDS[kind]} '{name}' is one of {', '.join(whose)}; expected one owner of a name: "
      "uninstall one package, or give MODULE:NAME"
    )
  return next(iter(owners), None)


@functools.cache
def installed(kind: str) -> Mapping[str, Mapping[str, str]]:
  """Return the names that installed packages have for a kind: name -> reference -> package."""
  found: dict[str, dict[str, str]] = {}
  for point in metadata.entry_points(group=f"{ENTRY_POINTS}{kind}"):
    package = point.dist.name if point.dist is not None else "a package"
    found.setdefault(point.name, {})[point.value] = package
  return found
