"""The report of a study as Markdown, LaTeX and CSV."""

import pandas as pd

from jaxmu.audit.cautions import Caution
from jaxmu.audit.results import FORGOTTEN, QUESTIONS
from jaxmu.audit.study.judgement import direction
from jaxmu.audit.study.study_statistics import (
  ACCURACIES,
  ATTACKERS,
  BOUND_NOTE,
  BOUNDS,
  FURTHER,
  METRICS,
  RETAIN_SIDE,
  STRATA,
  UPDATES,
  UPPER_BOUND,
)
from jaxmu.audit.text import number
from jaxmu.report.documents import (
  booktabs,
  markdown_text,
  md_caution,
  md_lines,
  md_methods,
  md_table,
  section,
)
from jaxmu.report.facts import method_cards
from jaxmu.report.study import facts, gallery, table
from jaxmu.report.study.data import StudyData
from jaxmu.report.table import Block, Line

LISTED = 5  # most exposed samples per method


def csv(data: StudyData) -> str:
  """Return the tidy summary: one line per method, question and statistic, as the tables have it.

  `score_gap` and `share_below` are those of `judgement.direction`.
  """
  known = lambda question: (*QUESTIONS, question).index(question)
  rows = []
  for name in data.order:
    mine = [(q, s, cell) for (method, q, s), cell in data.cells.items() if method == name]
    for question, statistic, cell in sorted(mine, key=lambda entry: known(entry[0])):
      rows.append((name, question, statistic, cell.mean, cell.low, cell.high))
    found = direction(data, name)
    rows.append((name, FORGOTTEN, "score_gap", found.gap, None, None))
    rows.append((name, FORGOTTEN, "share_below", found.below, None, None))
  head = ["method", "question", "statistic", "value", "low", "high"]
  return pd.DataFrame(rows, columns=head).to_csv(index=False, lineterminator="\n")


def tex(data: StudyData, lines: tuple[Line, ...]) -> str:
  """Return the main table for LaTeX."""
  described = " ".join(f"{name}: {words}" for name, words in table.definitions())
  caption = f"U-LiRA, {facts.subject(data)}. {table.legend(data)} {table.LEGEND} {described}"
  return booktabs(caption, data.title, METRICS, lines)


def markdown(
  data: StudyData, lines: tuple[Line, ...], cautions: list[Caution], verdict: list[str]
) -> str:
  """Return the report for a terminal or a code host: the page without figures."""
  return "\n".join(
    [
      f"# {markdown_text(data.title)}",
      "",
      markdown_text(facts.subject(data)),
      "",
      *_items(facts.header(data)),
      *section("In short", [markdown_text(" ".join(verdict))]),
      *section("Warnings", [md_caution(c) for c in cautions] or ["None."]),
      *section("Results", [md_lines(METRICS, lines), "", table.legend(data), "", table.LEGEND]),
      "",
      *_items(table.definitions(), strong=True),
      *section("Retained samples", [_block(data, table.block(data, RETAIN_SIDE))]),
      *section(
        "All training samples", [_block(data, table.block(data, UPPER_BOUND, ("original",)))]
      ),
      *section("Most exposed samples", [_exposed(data)]),
      *section("Other attackers", [_block(data, table.block(data, ATTACKERS))]),
      *section("What an update gives away", [_block(data, table.block(data, UPDATES))]),
      *section("Vulnerable and protected samples", [_block(data, table.block(data, STRATA))]),
      *section("Bound on epsilon", [_block(data, table.block(data, BOUNDS)), "", BOUND_NOTE]),
      *section("Single samples", [_block(data, table.block(data, FURTHER))]),
      *section("Direction", [_block(data, table.directions(data))]),
      *section("Accuracies", [_block(data, table.block(data, ACCURACIES))]),
      *section("Methods", md_methods(method_cards(data, data.order))),
      *section("Cost", [_costs(data)]),
      *section("How the study was made", _items(facts.making(data))),
      *section("Provenance", _items(facts.provenance(data))),
      "",
    ]
  )


def _items(facts: list[tuple[str, str]], strong: bool = False) -> list[str]:
  mark_up = "- **{}**: {}" if strong else "- {}: {}"
  return [mark_up.format(markdown_text(name), markdown_text(words)) for name, words in facts]


def _block(data: StudyData, found: Block) -> str:
  if not found.body:
    return "This run stored none."
  head = ["Method", *(label for label, _ in found.head)]
  body = [
    [markdown_text(data.label(name)), *(f"{main} {bounds}".strip() for main, bounds in cells)]
    for name, cells in found.body
  ]
  words = "; ".join(f"{label}: {words}" for label, words in found.head)
  return f"{md_table(head, body)}\n\n{markdown_text(words)}."


def _exposed(data: StudyData) -> str:
  head = ["Method", "sample", "label", "true label", "accuracy", "forgotten", "never seen"]
  body = [
    [
      *(markdown_text(words) for words in (data.label(name), one.sample, one.label)),
      markdown_text(one.true_label or one.label),
      *(number(one.accuracy, 3), number(one.score_forgotten, 2), number(one.score_never, 2)),
    ]
    for name, found in gallery.pictures(data).items()
    for one in found[:LISTED]
  ]
  if not body:
    return "This run stored none."
  words = (
    "Accuracy of the attack on the sample, measured by the half of the splits that did not choose "
    "it, and its mean confidence (log-odds) in both roles."
  )
  return f"{md_table(head, body)}\n\n{words}"


def _costs(data: StudyData) -> str:
  head, body = facts.costs(data)
  if not body:
    return "This run stored no timings."
  cells = [[markdown_text(cell) for cell in row] for row in body]
  return f"{md_table(head, cells)}\n\n{facts.COST_NOTE}"
