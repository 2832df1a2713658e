"""Reports of U-LiRA studies: per-sample membership attacks on many models, as text and one page."""

from pathlib import Path

from jaxmu.audit.study import study_cautions, study_verdict
from jaxmu.report.documents import write_all
from jaxmu.report.page import standalone_all
from jaxmu.report.study import documents, figures, page, table
from jaxmu.report.study.data import StudyData, from_run
from jaxmu.store import Run

__all__ = ["StudyData", "render", "write", "write_figures"]


def write(run: Run) -> list[Path]:
  """Write report.md, .csv, .tex and .html of a run into its directory.

  Equal runs give equal bytes: nothing is read from the clock or the machine that reports.

  Raises:
    StoreError: a table is missing or damaged, or the directory cannot be written.
  """
  return write_all(run.path, render(from_run(run)))


def write_figures(run: Run, folder: str | Path) -> list[Path]:
  """Write every figure of the report as a standalone SVG file into `folder`."""
  return write_all(Path(folder), standalone_all(figures.build(from_run(run))))


def render(data: StudyData) -> dict[str, str]:
  """Return the text of every report file by its name."""
  found = study_cautions.find(data)
  sentences, lines = study_verdict.write(data, found), table.lines(data, found)
  return {
    "report.md": documents.markdown(data, lines, found, sentences),
    "report.csv": documents.csv(data),
    "report.tex": documents.tex(data, lines),
    "report.html": page.html(data, lines, found, sentences),
  }
