"""All entries of a config as a table, for people: made from what the settings declare."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxmu.settings.catalog import Catalog
from jaxmu.settings.entries import REQUIRED, declared
from jaxmu.settings.experiment import Settings, schema


class Row(NamedTuple):
  """One entry: its dotted name, type and default as text, meaning in Markdown.

  `decisive` ones can change a number of the results: they are part of the run directory's hash.
  """

  name: str
  kind: str
  default: str
  meaning: str
  decisive: bool


def rows(catalog: Catalog) -> list[Row]:
  """List every entry that a config may have, in order."""
  names = {
    registry: _code(getattr(catalog, registry)) for registry in ("studies", "datasets", "models")
  }
  return [
    row._replace(meaning=row.meaning.format_map(names)) for row in _rows(Settings, schema(), "")
  ]


def markdown(catalog: Catalog) -> str:
  """Return the table of docs/configs.md."""
  lines = ["| entry | type | default | meaning |", "|---|---|---|---|"]
  for row in rows(catalog):
    name = f"**`{row.name}`**" if row.decisive else f"`{row.name}`"
    lines.append(f"| {name} | {row.kind} | {row.default} | {row.meaning} |")
  return "\n".join(lines)


def text(catalog: Catalog) -> str:
  """Return the same for a terminal: aligned, without links and marks."""
  found = rows(catalog)
  wide = [max(len(row[column]) for row in found) for column in range(3)]
  cells = lambda row: "  ".join(cell.ljust(width) for cell, width in zip(row[:3], wide))
  return "\n".join(f"{cells(row)}  {_plain(row.meaning)}" for row in found)


def of_config(catalog: Catalog, known: Mapping[str, Any]) -> str:
  """Return the entries of one config for a terminal: values, and what they mean.

  Args:
    known: as `Settings.to_dict` gives it. Values that are not the default's are marked by `*`.
  """
  lines = []
  for row in rows(catalog):
    value: Any = known
    for part in row.name.split("."):
      value = value[part]
    if isinstance(value, list):
      value = tuple(value)
    text = "" if value in ({}, ()) else _shortened(value)
    mark = " " if _default(value) == row.default else "*"
    lines.append((f"{mark} {row.name} = {text}".rstrip(), _plain(row.meaning)))
  wide = min(max(len(line) for line, _ in lines), 48)
  return "\n".join(f"{line.ljust(wide)}  {meaning}" for line, meaning in lines)


def _shortened(value: Any) -> str:
  """Write a value as a command line takes it; a section of hyper-parameters by its methods."""
  if isinstance(value, Mapping):
    return "(of " + ", ".join(value) + ")"
  if isinstance(value, tuple):
    whole = list(value)
    first = whole[0] if whole and isinstance(whole[0], int) else 0
    if len(whole) > 2 and whole == list(range(first, first + len(whole))):
      return f"{whole[0]}..{whole[-1]}"
    return ",".join(map(str, whole))
  return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(meaning: str) -> str:
  without = re.sub(r" \(\[[^]]*\]\([^)]*\)\)", "", meaning)  # "([why](page.md))"
  return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", without).replace("`", "")


def _rows(cls: type, kinds: dict, prefix: str) -> Iterator[Row]:
  for field in declared(cls):
    name, kind = prefix + field.name, kinds[field.name]
    if field.entry is None:
      yield from _rows(field.kind, kind, f"{name}.")
      continue
    section = isinstance(kind, dict)
    default = "empty" if section else _default(field.default)
    kind = "section" if section else kind.__name__
    yield Row(name, kind, default, field.entry.meaning, not field.entry.incidental)


def _default(value: object) -> str:
  if value is REQUIRED:
    return "required"
  return "empty" if value in ("", ()) else str(value).lower()


def _code(names) -> str:
  return ", ".join(f"`{name}`" for name in names)
