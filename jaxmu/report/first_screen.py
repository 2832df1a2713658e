"""What a reader takes away who reads nothing else: the advice, and how each method fares."""

from jaxmu.audit.decision import Decision, sentences
from jaxmu.audit.text import MISSING
from jaxmu.report.blocks import MET, MISSED, Cell, Column, Row, Section, Table, Text
from jaxmu.report.source import RunData

_STANDINGS = {True: MET, False: MISSED, None: ""}


def first(data: RunData, found: Decision) -> Section:
  """Return the advice and a table of checks, the methods that pass them first."""
  rows = sorted(
    (
      Row(
        data.label(one.method),
        (
          Cell("yes" if one.accepted and not found.void else "no"),
          *(
            Cell(check.words or MISSING, check.interval, _STANDINGS[check.met], check.note)
            for check in one.checks
          ),
        ),
        one.method,
      )
      for one in found.judgements
    ),
    key=lambda row: row.cells[0].main == "no",  # else as in the tables
  )
  columns = tuple(Column(one.name, "", one.words) for one in found.criteria)
  table = Table("What each method does of what is asked", (Column("Passes"), *columns), tuple(rows))
  advice, *rest = sentences(found, data.label)
  blocks = (Text(advice), *(Text(words, small=True) for words in rest))
  return Section("In short", (*blocks, *((table,) if rows else ())), "verdict")
