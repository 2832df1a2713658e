"""Reports: what a study shows as blocks, written as a page, Markdown, LaTeX, CSV, and figures."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxmu.report import blocks, writers
from jaxmu.report.blocks import Report
from jaxmu.store import files

__all__ = ["Report", "compare", "folder", "write", "write_figures"]


def write(folder: Path, report: Report) -> list[Path]:
  """Write report.md, .csv, .tex and .html into a folder, such as a run's directory.

  Equal runs give equal bytes: nothing is read from the clock or the machine that reports.

  Raises:
    StoreError: the folder cannot be written.
  """
  texts = writers.texts(report)
  return _write_all(folder, {name: text.encode() for name, text in texts.items()})


def write_figures(report: Report, folder: str | Path) -> list[Path]:
  """Write every figure of a report as .pdf, .svg and .png for a paper's column into `folder`."""
  from jaxmu.report.charts import rendering  # matplotlib is slow to import

  contents: dict[str, bytes] = {}
  for one in blocks.drawings(report.sections):
    contents |= rendering.files(one.plot, report.marks)
  return _write_all(Path(folder), contents)


def compare(reports: Mapping[str, Report]) -> Report:
  """Put the reports of several runs on one page.

  Raises:
    StoreError: they are of different kinds of studies.
  """
  from jaxmu.report.side_by_side import compose  # most reports are of one run

  return compose(reports)


def folder(names: Iterable[str], kind: str = "comparison") -> str:
  """Name the folder of a page about several runs: the same for the same runs."""
  return f"{kind}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:8]}"


def _write_all(folder: Path, contents: dict[str, bytes]) -> list[Path]:
  """Write files into a folder by name; each is replaced whole or stays as it was."""
  for name, content in contents.items():
    files.replace(folder / name, lambda file, content=content: file.write(content))
  return [folder / name for name in contents]
