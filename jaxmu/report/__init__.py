"""Reports: tables as Markdown, CSV and LaTeX, and one self-contained HTML page.

Reports of U-LiRA studies have a door of their own, `jaxmu.report.study`.
"""

from pathlib import Path

from jaxmu.audit import cautions
from jaxmu.audit.summary import summarise
from jaxmu.report import documents, figures, page, table, verdict
from jaxmu.report.data import ReportData, from_run
from jaxmu.store import Run

__all__ = ["ReportData", "render", "write", "write_figures"]


def write(run: Run) -> list[Path]:
  """Write report.md, .csv, .tex and .html of a run into its directory.

  Equal runs give equal bytes: nothing is read from the clock or the machine that reports.

  Raises:
    StoreError: rows are missing or damaged, or the directory cannot be written.
  """
  return documents.write_all(run.path, render(from_run(run)))


def write_figures(run: Run, folder: str | Path) -> list[Path]:
  """Write every figure of the report as a standalone SVG file into `folder`."""
  data = from_run(run)
  summary = summarise(data)
  sections = figures.build(data, summary, cautions.find(data, summary))
  return documents.write_all(Path(folder), page.standalone_all(sections))


def render(data: ReportData) -> dict[str, str]:
  """Return the text of every report file by its name."""
  summary = summarise(data)
  found = cautions.find(data, summary)
  sentences = verdict.write(data, summary, found)
  columns, lines = table.columns(data), table.lines(data, summary, found)
  return {
    "report.md": documents.markdown(data, summary, columns, lines, found, sentences),
    "report.csv": documents.csv(summary, data.rows),
    "report.tex": documents.tex(data, columns, lines),
    "report.html": page.html(data, summary, found, sentences),
  }
