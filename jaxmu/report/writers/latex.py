"""A report as LaTeX: a document that compiles by itself, its tables ready for a paper."""

from collections.abc import Iterable

from jaxmu.report.blocks import BEST, SIGNS, Block, Cell, Fold, Report, Section, Table

_ESCAPES = {
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
  "✓": r"$\surd$",
  "✗": r"$\times$",
  "·": r"$\cdot$",
  "×": r"$\times$",
  "|": r"$\vert$",
  "<": r"$<$",
  ">": r"$>$",
  **{c: f"\\{c}" for c in "&%$#_{}"},
}
_BEGIN = r"""% Compiles by itself: pdflatex report.tex. A paper takes its tables and these packages.
\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
"""


def document(report: Report) -> str:
  """Return the main table with its notes, then every further one."""
  parts = [
    _BEGIN,
    rf"\section*{{{escaped(report.title)}: {escaped(report.kind)}}}",
    f"{escaped(report.subject)}.\n",
    booktabs(report.main, report.title),
    *(f"{escaped(note)}\n" for note in report.notes),
    r"\clearpage" + "\n",
    *(booktabs(table, report.title) for table in _further(report)),
    r"\end{document}" + "\n",
  ]
  return "\n".join(parts)


def escaped(words: str) -> str:
  """Escape text for LaTeX, character by character, so that nothing is escaped twice.

  What a plain installation cannot set, such as names in other scripts, becomes a question mark.
  """
  return "".join(_ESCAPES.get(c, c if c in _SETTABLE or c.isascii() else "?") for c in words)


_SETTABLE = frozenset(chr(code) for code in range(0xA0, 0x100)) | frozenset("“”‘’…—")


def booktabs(table: Table, title: str) -> str:
  """Return a table as wide as the text where it would be wider; needs booktabs and graphicx."""
  head = " & ".join(escaped(column.label) for column in (table.head, *table.columns))
  body: list[str] = []
  for previous, row in zip((None, *table.rows), table.rows):
    if previous is not None and previous.reference and not row.reference:
      body.append(r"\midrule")
    cells = " & ".join(_cell(cell) for cell in row.cells)
    body.append(f"{escaped(row.label)} & {cells} \\\\")
  label = "".join(c for c in f"{title}-{table.name}" if c.isalnum() or c == "-")
  lines = [
    r"\begin{table}[htbp]",
    r"\centering",
    rf"\caption{{{escaped(table.caption)}}}",
    rf"\label{{tab:{label}}}",
    r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
    rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
    r"\toprule",
    rf"{head} \\",
    r"\midrule",
    *body,
    r"\bottomrule",
    r"\end{tabular}}",
    r"\end{table}",
    "",
  ]
  return "\n".join(lines)


def _cell(cell: Cell) -> str:
  text = escaped(cell.main)
  if cell.standing == BEST:
    return rf"\textbf{{{text}}}"
  sign = SIGNS.get(cell.standing)
  return rf"{text}\,{escaped(sign)}".lstrip("\\,") if sign else text


def _further(report: Report) -> Iterable[Table]:
  found = _tables(one for one in (report.first, *report.sections) if not one.page_only)
  return (table for table in found if table is not report.main)


def _tables(blocks: Iterable[Block]) -> Iterable[Table]:
  for block in blocks:
    if isinstance(block, Table):
      yield block
    elif isinstance(block, Fold) or (isinstance(block, Section) and not block.page_only):
      yield from _tables(block.blocks)
