"""JSON read as a declared type, strictly: a file of the wrong form is one line, not a traceback.

Types are those that records need: frozen dataclasses, `tuple[X, ...]` and `tuple[X, Y]`,
`Mapping[str, X]`, bool, int, float, str and Any. `files.write_json` writes the same values back.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from jaxmu.store import files

T = TypeVar("T")
_WORDS = {
  dict: "an object",
  list: "a list",
  str: "text",
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  type(None): "null",
}


class _MismatchError(Exception):
  """A part of the value does not have its declared type; the message names it."""


def load(kind: type[T], path: Path) -> T:
  """Read a JSON file as a value of the type `kind`.

  Raises:
    StoreError: the file is absent, damaged, or holds something else; the line names the part.
  """
  return parse(kind, files.read_json(path), path)


def parse(kind: type[T], value: Any, path: Path) -> T:
  """Return a value that `path` holds, as JSON has it, as one of the type `kind`.

  Entries that the type does not declare are left out. An absent entry takes its default.

  Raises:
    StoreError: an entry is absent or of another type.
  """
  try:
    return _parsed(kind, value, "")
  except _MismatchError as error:
    raise files.damaged(path, str(error)) from None


def _parsed(kind: Any, value: Any, name: str) -> Any:
  if kind is Any:
    return value
  if dataclasses.is_dataclass(kind):
    return _record(kind, _expect(dict, value, name), name)
  inner = get_args(kind)
  if get_origin(kind) is tuple:
    return _sequence(inner, _expect(list, value, name), name)
  if get_origin(kind) is Mapping:
    entries = _expect(dict, value, name).items()
    return {key: _parsed(inner[1], entry, _below(name, key)) for key, entry in entries}
  if kind is float and type(value) is int:
    return float(value)
  return _expect(kind, value, name)


def _record(kind: Any, value: dict, name: str) -> Any:
  found = {}
  for key, (of, optional) in _fields(kind).items():
    if key in value:
      found[key] = _parsed(of, value[key], _below(name, key))
    elif not optional:
      raise _MismatchError(f"'{_below(name, key)}' is missing")
  return kind(**found)


def _sequence(inner: tuple, value: list, name: str) -> tuple:
  if inner[-1] is Ellipsis:
    inner = (inner[0],) * len(value)
  if len(inner) != len(value):
    raise _MismatchError(f"{_quoted(name)} has {len(value)} entries, expected {len(inner)}")
  entries = enumerate(zip(inner, value))
  return tuple(_parsed(of, one, _below(name, str(k))) for k, (of, one) in entries)


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
  """Return type of every field of a dataclass, and whether it may be absent."""
  types = get_type_hints(kind)
  return {
    field.name: (types[field.name], field.default is not dataclasses.MISSING)
    for field in dataclasses.fields(kind)
  }


def _expect(kind: type, value: Any, name: str) -> Any:
  """Return `value` if it is of just this type: true is no number."""
  if type(value) is not kind:
    found, wanted = _WORDS[type(value)], _WORDS[kind]
    raise _MismatchError(f"{_quoted(name)} is {found}, expected {wanted}")
  return value


def _quoted(name: str) -> str:
  return f"'{name}'" if name else "it"


def _below(name: str, key: str) -> str:
  key = key if key.isprintable() else ascii(key)[1:-1]  # the message stays one line
  return f"{name}.{key}" if name else key
