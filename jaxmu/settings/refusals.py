"""What is wrong with a config, in one line: what was given, what was expected, what to do.

pydantic finds the mistakes; the words are ours. Of several only the first is told, and a name that
is not known comes before all others: it may be why another one is missing.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from jaxmu.errors import SettingsError, UserError, closest, shown
from jaxmu.settings.ranges import Unfit

UNKNOWN = ("unexpected_keyword_argument", "invalid_key")


class Refusal(ValueError):
  """A value that is refused in words of its own, which follow the entry's name."""


class UnfitPart(Unfit):
  """A part of a value that is not what was declared; only the part is shown."""

  def __init__(self, part: Any, expected: str):
    super().__init__(expected)
    self.part = part


def translate(error: ValidationError, schema: Mapping[str, Any]) -> UserError:
  """Return the first mistake that pydantic found, in our words.

  Args:
    schema: the entries of a config, sections as nested dicts.
  """
  found = error.errors(include_url=False)
  first = min(found, key=lambda each: each["type"] not in UNKNOWN)
  kind, given = first["type"], first["input"]
  cause = first.get("ctx", {}).get("error")
  path = ".".join(["config", *map(str, first["loc"])])
  if kind in UNKNOWN:
    *sections, last = first["loc"]
    for section in sections:
      schema = schema[section]
    key = given if kind == "invalid_key" else last
    return unknown_entry(".".join(["config", *map(str, sections)]), key, schema)
  if kind == "missing":
    return SettingsError(f"{path} is missing; add it to the config file or give --{path}=...")
  if kind == "dataclass_type":
    return missing_section(path, given)
  if isinstance(cause, UserError):
    return cause
  if isinstance(cause, Refusal):
    return SettingsError(f"{path}{cause}")
  if isinstance(cause, Unfit):
    return wrong_value(path, cause.part if isinstance(cause, UnfitPart) else given, str(cause))
  return SettingsError(f"{path} is {shown(given)}, which cannot be used: {first['msg']}")


def wrong_value(path: str, given: Any, expected: str) -> SettingsError:
  """Say that an entry's value is not what it may be."""
  empty = isinstance(given, str | tuple | list) and not given
  return SettingsError(
    f"{path} is {'empty' if empty else shown(given)}; expected {expected}: set it with --{path}=..."
  )


def unknown_entry(
  path: str, key: Any, known: Collection[str], kind: str = "entry"
) -> SettingsError:
  """Say that a section has no such entry."""
  return SettingsError(f"{path} has no {kind} {shown(key)}; {closest(key, known)}")


def missing_section(path: str, given: Any) -> SettingsError:
  """Say that a value stands where a section belongs."""
  return SettingsError(
    f"{path} is {shown(given)}; expected a section with entries of its own: set one of them, as in "
    f"--{path}.ENTRY=VALUE"
  )
