"""Numbers that others published, to stand beside ours.

An independent public re-run of the reference's code: ResNet-18 on CIFAR-10, means and standard
deviations over ten seeds (spec evaluation 11.2). These are not the paper's numbers, which could not
be recovered, and of single seeds nothing is known.
"""

from pathlib import Path

import pandas as pd

from jaxmu.audit.text import MISSING, number
from jaxmu.report.benchmark.benchmark_data import Judged
from jaxmu.report.blocks import Cell, Column, Row, Table

FILE = Path(__file__).with_name("published_resnet18_cifar10.csv")
SHOWN = ("RA", "FA", "TA", "T_MIA", "RetDev", "Indisc")
WORDS = (
  "ours, then those of an independent public re-run of the reference's code (ten seeds, its own "
  "search; not the paper's numbers). Where configurations differ, numbers will: compare "
  "retrained and FT first."
)


def rows() -> pd.DataFrame:
  """Return the published means, a row per method, NaN where a method failed."""
  return pd.read_csv(FILE)


def fits(one: Judged) -> bool:
  """Tell whether a benchmark is of the network and the data set that were published."""
  known = one.data
  return (known.config.model.name, known.manifest.dataset.name) == ("resnet18", "cifar10")


def beside(name: str, one: Judged) -> Table:
  """Put published means beside those of a benchmark."""
  known = rows().set_index("method")
  summary = one.summary
  found = []
  for method in summary.order:
    if method in known.index:
      theirs = known.loc[method]
      pairs = ((summary.cell(method, key).mean, float(theirs[key])) for key in SHOWN)
      cells = tuple(Cell(f"{_written(a)} / {_written(b)}") for a, b in pairs)
      found.append(Row(one.data.label(method), cells, method))
  columns = tuple(Column(key.replace("_", " "), "", "") for key in SHOWN)
  return Table(f"{name}: {WORDS}", columns, tuple(found), name="published")


def _written(value: float) -> str:
  return number(value) if value == value else MISSING
