"""The report as Markdown, LaTeX and CSV."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from jaxmu.audit import metrics
from jaxmu.audit.cautions import Caution
from jaxmu.audit.metric import DETAIL, DISTANCES, MAIN
from jaxmu.audit.summary import STATISTICS, Summary
from jaxmu.audit.text import spread
from jaxmu.report import facts
from jaxmu.report.data import ReportData
from jaxmu.report.table import BEST, SIGNS, STANDING, Column, Entry, Line, definitions, legend
from jaxmu.store import files

_LATEX = {
  "\\": r"\textbackslash{}",
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  "±": r"$\pm$",
  "−": r"$-$",
  "–": "--",
  "∞": r"$\infty$",
  "‖": r"$\Vert$",
  "≈": r"$\approx$",
  "▲": r"$\uparrow$",
  "·": r"$\cdot$",
  "×": r"$\times$",
  "|": r"$\vert$",
  "<": r"$<$",
  ">": r"$>$",
  **{c: f"\\{c}" for c in "&%$#_{}"},
}


def latex(words: str) -> str:
  """Escape text for LaTeX, character by character, so that nothing is escaped twice."""
  return "".join(_LATEX.get(c, c) for c in words)


def markdown_text(words: str) -> str:
  """Escape what Markdown or HTML would take as markup; plain words stay readable as they are."""
  escaped = re.sub(r"([\\`*|])", r"\\\1", str(words)).replace("](", "]\\(")
  escaped = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", escaped)
  return escaped.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def write_all(folder: Path, texts: dict[str, str]) -> list[Path]:
  """Write texts into a folder by name; each file is replaced whole or stays as it was."""
  for name, text in texts.items():
    content = text.encode()
    files.replace(folder / name, lambda file, content=content: file.write(content))
  return [folder / name for name in texts]


def csv(summary: Summary, rows: pd.DataFrame) -> str:
  """Return the tidy summary: one line per method and metric, in the order of the tables."""
  lead = [metric.name for metric in metrics.shown(MAIN) if metric.name in rows]
  rest = [name for name in metrics.numbers(rows.columns) if name not in lead]
  averaged_first = [name for name in metrics.of_means() if summary.has(name)]
  table = [
    {"method": name, "metric": metric, **summary.cell(name, metric)._asdict()}
    for name in summary.order
    for metric in (*lead, *rest, *averaged_first)
  ]
  return pd.DataFrame(table, columns=["method", "metric", *STATISTICS]).to_csv(
    index=False, lineterminator="\n"
  )


def tex(data: ReportData, columns: tuple[Column, ...], lines: tuple[Line, ...]) -> str:
  """Return the main table for LaTeX."""
  described = " ".join(f"{name}: {words}" for name, words in definitions(data))
  caption = f"{facts.subject(data)}. {legend(data)} {STANDING} {described}"
  return booktabs(caption, data.title, columns, lines)


def booktabs(
  caption: str, title: str, columns: tuple[Column, ...], lines: tuple[Line, ...], count: str = "n"
) -> str:
  """Return a booktabs table; the document needs \\usepackage{booktabs} and nothing else."""
  head = " & ".join(latex(name) for name in ("Method", *(c.label for c in columns), count))
  body = []
  for previous, line in zip((None, *lines), lines):
    if previous is not None and previous.reference and not line.reference:
      body.append(r"\midrule")
    entries = " & ".join(_tex_entry(entry) for entry in line.entries)
    body.append(f"{latex(line.label)} & {entries} & {latex(line.members)} \\\\")
  return "\n".join(
    [
      "% needs \\usepackage{booktabs}; wide: \\resizebox or table* may help",
      r"\begin{table}",
      r"\centering",
      rf"\caption{{{latex(caption)}}}",
      rf"\label{{tab:{''.join(c for c in title if c.isalnum() or c == '-')}}}",
      rf"\begin{{tabular}}{{l{'r' * (len(columns) + 1)}}}",
      r"\toprule",
      rf"{head} \\",
      r"\midrule",
      *body,
      r"\bottomrule",
      r"\end{tabular}",
      r"\end{table}",
      "",
    ]
  )


def _tex_entry(entry: Entry) -> str:
  text = latex(entry.main)
  if entry.standing == BEST:
    return rf"\textbf{{{text}}}"
  return f"{text}\\,{latex(SIGNS[entry.standing])}" if entry.standing in SIGNS else text


def markdown(
  data: ReportData,
  summary: Summary,
  columns: tuple[Column, ...],
  lines: tuple[Line, ...],
  cautions: list[Caution],
  verdict: list[str],
) -> str:
  """Return the report for a terminal or a code host: the page without figures."""
  return "\n".join(
    [
      f"# {markdown_text(data.title)}",
      "",
      markdown_text(facts.subject(data)),
      "",
      *(f"- {markdown_text(name)}: {markdown_text(words)}" for name, words in facts.header(data)),
      *section("In short", [markdown_text(" ".join(verdict))]),
      *section("Warnings", [md_caution(c) for c in cautions] or ["None."]),
      *section(
        "Results", [md_lines(columns, lines), "", markdown_text(legend(data)), "", STANDING]
      ),
      "",
      *(f"- **{markdown_text(name)}**: {markdown_text(w)}" for name, w in definitions(data)),
      *section(
        "Further metrics",
        [_md_cells(data, summary, [(m.name, m.name) for m in metrics.shown(DETAIL)])],
      ),
      *section(
        "Distances",
        [_md_cells(data, summary, [(m.name, m.label) for m in metrics.shown(DISTANCES)])],
      ),
      *section("Methods", md_methods(facts.method_cards(data, summary.order))),
      *section("Time", [_md_timings(data), "", facts.clock_note(data)]),
      *section("Provenance", [f"- {n}: {markdown_text(w)}" for n, w in facts.provenance(data)]),
      "",
    ]
  )


def section(title: str, body: list[str]) -> list[str]:
  """Return a heading and its lines."""
  return ["", f"## {title}", "", *body]


def md_lines(columns: tuple[Column, ...], lines: tuple[Line, ...], count: str = "n") -> str:
  """Return the main table."""
  head = ["Method", *(c.label for c in columns), count]
  body = [[markdown_text(one.label), *map(_md_entry, one.entries), one.members] for one in lines]
  return md_table(head, body)


def md_table(head: list[str], body: list[list[str]]) -> str:
  """Return a table of escaped cells whose columns also line up in a terminal."""
  table = [head, *body]
  widths = [max(3, *map(len, column)) for column in zip(*table)]
  rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
  aligned = lambda row: [
    cell.rjust(width) if place else cell.ljust(width)
    for place, (cell, width) in enumerate(zip(row, widths))
  ]
  written = [aligned(head), rule, *map(aligned, body)]
  return "\n".join(f"| {' | '.join(row)} |" for row in written)


def _md_entry(entry: Entry) -> str:
  main = f"**{entry.main}**" if entry.standing == BEST else entry.main
  note = f" ({entry.note})" if entry.note else ""
  return f"{SIGNS.get(entry.standing, '')} {main} {entry.interval}{note}".strip()


def _md_cells(data: ReportData, summary: Summary, wanted: Iterable[tuple[str, str]]) -> str:
  present = [(key, label) for key, label in wanted if summary.has(key)]
  head = ["Method", *(label for _, label in present)]
  body = [
    [markdown_text(data.label(name)), *(spread(summary.cell(name, key)) for key, _ in present)]
    for name in summary.order
  ]
  return md_table(head, body)


def _md_timings(data: ReportData) -> str:
  head, body = facts.timings(data)
  if not body:
    return "This run stored no timings."
  return md_table(head, [[markdown_text(cell) for cell in row] for row in body])


def md_caution(caution: Caution) -> str:
  """Return a warning as a list item."""
  return f"- **{markdown_text(caution.title)}** ({caution.level}). {markdown_text(caution.text)}"


def md_methods(cards: Iterable[facts.MethodCard]) -> list[str]:
  """Return one list item per method."""
  return [
    f"- **{markdown_text(card.label)}** {markdown_text(card.title)}. {markdown_text(card.summary)} "
    f"Touches: {', '.join(card.needs) or 'nothing'}. "
    f"{markdown_text('; '.join(f'{k} = {v}' for k, v in card.hyperparameters))}"
    for card in cards
  ]
