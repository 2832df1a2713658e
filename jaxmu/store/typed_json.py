"""JSON read as a declared type, strictly: a file of the wrong form is one line, not a traceback.

Types are those that records need: frozen dataclasses, `tuple[X, ...]` and `tuple[X, Y]`,
`Mapping[str, X]`, bool, int, float, str and Any. `files.write_json` writes the same values back.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxmu.store import files

T = TypeVar("T")
_FOUND = {
  dict: "an object",
  list: "a list",
  str: "text",
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  type(None): "null",
}
_EXPECTED = {  # by the names that pydantic gives to mistakes
  **dict.fromkeys(("dataclass_type", "dict_type", "mapping_type"), "an object"),
  "tuple_type": "a list",
  "string_type": "text",
  "bool_type": "true or false",
  **dict.fromkeys(("int_type", "int_from_float"), "a whole number"),
  "float_type": "a number",
}


def load(kind: type[T], path: Path) -> T:
  """Read a JSON file as a value of the type `kind`.

  Raises:
    StoreError: the file is absent, damaged, or holds something else; the line names the part.
  """
  return parse(kind, files.read_json(path), path)


def load_sealed(kind: type[T], path: Path) -> T:
  """Read what `files.write_sealed` wrote as a value of the type `kind`.

  Raises:
    StoreError: the file is absent, was changed, or holds something else.
  """
  return parse(kind, files.read_sealed(path), path)


def parse(kind: type[T], value: Any, path: Path) -> T:
  """Return a value that `path` holds, as JSON has it, as one of the type `kind`.

  Entries that the type does not declare are left out. An absent entry takes its default.

  Raises:
    StoreError: an entry is absent or of another type.
  """
  from pydantic import ValidationError

  try:
    return _reader(kind).validate_json(json.dumps(value), strict=True)
  except ValidationError as error:
    raise files.damaged(path, _reason(error.errors(include_url=False))) from None


@functools.cache
def _reader(kind: type) -> Any:
  from pydantic import TypeAdapter

  return TypeAdapter(kind)


def _reason(mistakes: Sequence[Any]) -> str:
  """Say the first mistake in our words."""
  first = mistakes[0]
  place, given, kind = first["loc"], first["input"], first["type"]
  short = kind == "missing" and isinstance(given, list)  # of a tuple: each absent entry is told
  if short or kind == "too_long":
    same = sum(each["type"] == "missing" and each["loc"][:-1] == place[:-1] for each in mistakes)
    expected = len(given) + same if short else first["ctx"]["max_length"]
    where = _quoted(place[:-1] if short else place)
    return f"{where} has {len(given)} entries, expected {expected}"
  if kind == "missing":
    return f"{_quoted(place)} is missing"
  expected = _EXPECTED.get(kind)
  if expected is None:
    return f"{_quoted(place)}: {first['msg']}"
  return f"{_quoted(place)} is {_FOUND[type(given)]}, expected {expected}"


def _quoted(place: Sequence[str | int]) -> str:
  """Name a part; the message stays one line."""
  keys = [str(key) if str(key).isprintable() else ascii(str(key))[1:-1] for key in place]
  return f"'{'.'.join(keys)}'" if keys else "it"
