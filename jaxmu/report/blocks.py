"""A report as a value: what it says, apart from how a file says it.

A kind of study makes a `Report` of sections; `writers` turn it into a page, Markdown and LaTeX.
Text is plain; only that of `Steps` may hold **strong** words.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxmu.audit.rules import Caution
from jaxmu.report.charts.plots import Plot
from jaxmu.report.marks import Mark

BEST, SHARED = "best", "shared"  # a clear winner; the leading group whose intervals overlap
RAISED = "raised"  # its interval lies above that of the retrained models
MET, MISSED = "met", "missed"  # what was asked for
SIGNS = {SHARED: "≈", RAISED: "▲", MET: "✓", MISSED: "✗"}  # beside a number
SIGN_WORDS = {
  SHARED: "not separable from the best",
  RAISED: "above what retraining leaves",
  MET: "meets the criterion",
  MISSED: "does not meet the criterion",
}


class Text(NamedTuple):
  """A paragraph; small ones explain what stands beside them."""

  words: str
  small: bool = False


class Steps(NamedTuple):
  """Sentences that are read one after another; they may hold **strong** words."""

  items: tuple[str, ...]


class Facts(NamedTuple):
  """Labels with their words. `wide`: side by side where there is room, as definitions are."""

  items: tuple[tuple[str, str], ...]
  wide: bool = False


class Column(NamedTuple):
  """A column's label, what stands beneath it (such as the ideal value), and its meaning."""

  label: str
  under: str = ""
  words: str = ""


class Cell(NamedTuple):
  """A number or word, its interval, its standing among the methods, and a note beside it."""

  main: str
  interval: str = ""
  standing: str = ""
  note: str = ""


class Row(NamedTuple):
  """A line of a table; `method` gives it a marker, `reference` sets it apart from the others."""

  label: str
  cells: tuple[Cell, ...]
  method: str = ""
  reference: bool = False
  flags: tuple[Caution, ...] = ()


class Table(NamedTuple):
  """Rows under columns. The caption says what it holds, in a few words.

  `explained`: the columns' meanings follow it as a sentence. `name`: what LaTeX and links call it.
  """

  caption: str
  columns: tuple[Column, ...]
  rows: tuple[Row, ...]
  head: Column = Column("Method")
  explained: bool = False
  name: str = ""


class Drawing(NamedTuple):
  """A figure with what to look for in it."""

  plot: Plot
  caption: str = ""


class Drawings(NamedTuple):
  """Figures side by side; small ones as tiles."""

  figures: tuple[Drawing, ...]
  small: bool = False


class Legend(NamedTuple):
  """The markers of methods; `dashed` ones have dashed lines."""

  methods: tuple[str, ...]
  dashed: tuple[str, ...] = ()


class Warnings(NamedTuple):
  """What would mislead; `calm` is said where nothing would."""

  cautions: tuple[Caution, ...]
  calm: str


class Meaning(NamedTuple):
  """What a number is, its ideal value, and what it cannot tell."""

  label: str
  ideal: str
  explanation: str
  limits: str


class MethodCard(NamedTuple):
  """What a method is and what it may touch."""

  method: str
  label: str
  title: str
  summary: str
  paper: str
  needs: tuple[str, ...]
  oddities: str
  hyperparameters: tuple[tuple[str, str], ...]


class Cards(NamedTuple):
  """Explanations side by side."""

  cards: tuple[Meaning | MethodCard, ...]


class Picture(NamedTuple):
  """An image, uint8 [H, W, 1 or 3], what it shows, its number, and lines beneath."""

  image: np.ndarray
  title: str
  value: str
  lines: tuple[str, ...]
  odd: str = ""  # a line that stands out


class Gallery(NamedTuple):
  """Pictures by method."""

  pictures: Mapping[str, tuple[Picture, ...]]


class Fold(NamedTuple):
  """What a page shows on request."""

  title: str
  blocks: tuple["Block", ...]


class Section(NamedTuple):
  """Blocks under a title. `name` is where links lead, "" for a part of another section.

  `page_only`: it helps to read a page and would only lengthen a text.
  """

  title: str
  blocks: tuple["Block", ...]
  name: str = ""
  short: str = ""  # in the list of sections, where the title is long
  page_only: bool = False


Block = (
  Text | Steps | Facts | Table | Drawings | Legend | Warnings | Cards | Gallery | Fold | Section
)


class Report(NamedTuple):
  """A report. `kind` says what it is, `stored` of what it is made.

  `first` stands at the top: what a reader takes away who reads nothing else. `main` is the table
  for a paper; `numbers` are all of them, tidy. `members` are rows (method, seed, finite, numbers)
  that other runs with the same `split` can be compared with one by one, if there are any.
  """

  title: str
  kind: str
  subject: str
  header: Facts
  first: Section
  sections: tuple[Section, ...]
  marks: Mapping[str, Mark]
  main: Table
  numbers: pd.DataFrame
  notes: tuple[str, ...] = ()  # beneath the table for a paper
  stored: str = "the run's stored rows"
  members: pd.DataFrame | None = None
  split: str = ""
  asked: str = "What was run"  # above the header


def described(table: Table) -> str:
  """Explain the columns of a table as a paragraph."""
  return " ".join(f"{column.label}: {column.words}" for column in table.columns if column.words)


def drawings(sections: Sequence[Section]) -> Iterator[Drawing]:
  """Yield every figure, in the order of a page."""
  for section in sections:
    yield from _of(section.blocks)


def _of(blocks: Sequence[Block]) -> Iterator[Drawing]:
  for block in blocks:
    if isinstance(block, Drawings):
      yield from block.figures
    elif isinstance(block, Section | Fold):
      yield from _of(block.blocks)
