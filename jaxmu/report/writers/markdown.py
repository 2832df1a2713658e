"""A report as Markdown, for a terminal or a code host: the page without its figures."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from jaxmu.report.blocks import (
  BEST,
  SIGNS,
  Block,
  Cards,
  Cell,
  Drawings,
  Facts,
  Fold,
  Gallery,
  Legend,
  Meaning,
  MethodCard,
  Report,
  Section,
  Steps,
  Table,
  Text,
  Warnings,
)


def document(report: Report) -> str:
  """Return the report."""
  first = report.first
  lines = [
    *(f"# {escaped(report.title)}", "", escaped(report.subject), "", *_facts(report.header)),
    *section(first),
    *(line for one in report.sections for line in section(one)),
    "",
  ]
  return "\n".join(lines)


def section(one: Section, level: int = 2) -> list[str]:
  """Return a heading and what stands beneath it; nothing where only a page has it."""
  if one.page_only:
    return []
  found = ["", f"{'#' * level} {one.title}"]
  for block in one.blocks:
    found += section(block, level + 1) if isinstance(block, Section) else written(block, level)
  return found


def written(block: Block, level: int = 2) -> list[str]:
  """Return a block as lines, an empty one first."""
  if isinstance(block, Fold):
    return section(Section(block.title, block.blocks), level + 1)
  lines = _WRITE[type(block)](block)
  return ["", *lines] if lines else []


def escaped(words: str) -> str:
  """Escape what Markdown or HTML would take as markup; plain words stay readable as they are."""
  text = re.sub(r"([\\`*|])", r"\\\1", str(words)).replace("](", "]\\(")
  text = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", text)
  return text.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def aligned(head: list[str], body: list[list[str]]) -> list[str]:
  """Return a table of escaped cells whose columns also line up in a terminal."""
  table = [head, *body]
  widths = [max(3, *map(len, column)) for column in zip(*table)]
  rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
  fill = lambda row: [
    cell.rjust(width) if place else cell.ljust(width)
    for place, (cell, width) in enumerate(zip(row, widths))
  ]
  return [f"| {' | '.join(row)} |" for row in (fill(head), rule, *map(fill, body))]


def _facts(block: Facts) -> list[str]:
  mark_up = "- **{}**: {}" if block.wide else "- {}: {}"
  return [mark_up.format(escaped(name), escaped(words)) for name, words in block.items]


def _steps(block: Steps) -> list[str]:
  return [f"{k}. {item}" for k, item in enumerate(block.items, 1)]


def _table(block: Table) -> list[str]:
  head = [escaped(column.label) for column in (block.head, *block.columns)]
  body = [[escaped(row.label), *map(_cell, row.cells)] for row in block.rows]
  words = "; ".join(f"{column.label}: {column.words}" for column in block.columns if column.words)
  return [*aligned(head, body), *(["", f"{escaped(words)}."] if block.explained else [])]


def _cell(cell: Cell) -> str:
  main = f"**{escaped(cell.main)}**" if cell.standing == BEST else escaped(cell.main)
  note = f"({escaped(cell.note)})" if cell.note else ""
  parts = (SIGNS.get(cell.standing, ""), main, escaped(cell.interval), note)
  return " ".join(part for part in parts if part)


def _warnings(block: Warnings) -> list[str]:
  written = [f"- **{escaped(c.title)}** ({c.level}). {escaped(c.text)}" for c in block.cautions]
  return written or [block.calm]


def _cards(block: Cards) -> list[str]:
  return [_meaning(one) if isinstance(one, Meaning) else _method(one) for one in block.cards]


def _meaning(one: Meaning) -> str:
  words = f"{one.explanation} Cannot tell: {one.limits}"
  return f"- **{escaped(one.label)}** (ideal: {escaped(one.ideal)}). {escaped(words)}"


def _method(card: MethodCard) -> str:
  given = "; ".join(f"{key} = {value}" for key, value in card.hyperparameters)
  return (
    f"- **{escaped(card.label)}** {escaped(card.title)}. {escaped(card.summary)} "
    f"Touches: {', '.join(card.needs) or 'nothing'}. {escaped(given)}"
  )


def _gallery(block: Gallery) -> list[str]:
  return [
    f"- {escaped(method)}: {escaped(one.title)}, {one.value} ({escaped('; '.join(one.lines))})"
    for method, found in block.pictures.items()
    for one in found[:5]
  ]


def _nothing(block: Any) -> Iterable[str]:
  return []


_WRITE: dict[type, Callable[[Any], Iterable[str]]] = {
  Text: lambda block: [escaped(block.words)],
  Steps: _steps,
  Facts: _facts,
  Table: _table,
  Warnings: _warnings,
  Cards: _cards,
  Gallery: _gallery,
  Drawings: _nothing,
  Legend: _nothing,
}
