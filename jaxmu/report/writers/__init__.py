"""Writers: a report's blocks as a page, as Markdown, as LaTeX, and its numbers as CSV."""

from jaxmu.report.blocks import Report
from jaxmu.report.writers import html, latex, markdown

__all__ = ["csv", "html", "latex", "markdown", "texts"]


def csv(report: Report) -> str:
  """Return all numbers, tidy."""
  return report.numbers.to_csv(index=False, lineterminator="\n")


def texts(report: Report) -> dict[str, str]:
  """Return the text of every report file by its name."""
  return {
    "report.md": markdown.document(report),
    "report.csv": csv(report),
    "report.tex": latex.document(report),
    "report.html": html.page(report),
  }
