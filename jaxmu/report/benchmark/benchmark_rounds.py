"""What happens over the rounds of a request: figures, and a table of every round."""

import pandas as pd

from jaxmu.audit.draws import ROUND
from jaxmu.audit.metrics import METRICS
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.text import listing, number, plural
from jaxmu.report.benchmark import benchmark_figures
from jaxmu.report.benchmark.benchmark_data import Judged
from jaxmu.report.blocks import (
  Block,
  Cell,
  Column,
  Drawing,
  Drawings,
  Legend,
  Row,
  Section,
  Table,
  Text,
)
from jaxmu.report.charts.plots import Axis, Curve, Lines

DRAWN = {
  "TA": "test accuracy",
  "FA": "forget accuracy of this round",
  "FA_all": "forget accuracy of all rounds so far",
  "T_MIA": "T-MIA of this round",
  "T_MIA_first": "T-MIA of the first round",
}
TABLED = (*DRAWN, "RetDev", "gap")
WORDS = (
  "Each method goes on from its own model of the round before; retrained models are trained anew "
  "on what remains after the round. Mean over seeds; the shade is the 95 % interval for other "
  "samples and other seeds. T-MIA of the first round attacks, after every round, what the first "
  "one forgot."
)


def rounds(judged: Judged) -> tuple[Block, ...]:
  """Return the section about rounds, if there are any."""
  data = judged.data
  if not len(data.rounds):
    return ()
  known = set(data.rounds["metric"])
  drawn = tuple(_lines(judged, metric) for metric in DRAWN if metric in known)
  shown, left_out = benchmark_figures.without_outliers(judged)
  legend = Legend(tuple(shown), dashed=("original",))
  words = WORDS
  if left_out:
    names = listing(map(data.label, left_out))
    words += f" Not drawn, because the others could not be told apart: {names}."
  return (Section("Over rounds", (Text(words, small=True), legend, Drawings(drawn))),)


def table(judged: Judged) -> Table:
  """Lay out methods by round."""
  data = judged.data
  found = data.rounds.set_index(["method", ROUND, "metric"])
  known = set(data.rounds["metric"])
  present = [name for name in TABLED if name in known]
  rows = []
  for name in judged.summary.order:
    for turn in sorted(data.rounds[ROUND].unique()):
      cells = [_cell(found, (name, turn, metric)) for metric in present]
      rows.append(Row(f"{data.label(name)}, round {turn}", tuple(cells), name, name in REFERENCES))
  columns = tuple(Column(METRICS[name].label or name) for name in present)
  return Table("Round by round", columns, tuple(rows))


def _cell(found: pd.DataFrame, key: tuple[str, int, str]) -> Cell:
  if key not in found.index:
    return Cell("–")
  row = found.loc[key]
  return Cell(number(float(row["value"])), f"[{number(row['low'])}, {number(row['high'])}]")


def _lines(judged: Judged, metric: str) -> Drawing:
  data, curves, hints = judged.data, {}, {}
  shown, _ = benchmark_figures.without_outliers(judged)
  own = data.rounds[data.rounds["metric"] == metric]
  for name in shown:
    mine = own[own["method"] == name].sort_values(ROUND)
    if not len(mine):
      continue
    columns = (mine[key].to_numpy(float) for key in (ROUND, "value", "low", "high"))
    curves[name] = Curve(*columns)
    first, last = mine["value"].iloc[0], mine["value"].iloc[-1]
    hints[name] = f"{data.label(name)}: {number(first)} to {number(last)}"
  count = plural(int(own[ROUND].max()), "round")
  return Drawing(
    Lines(
      f"rounds-{metric.lower().replace('_', '-')}",
      f"{DRAWN[metric][0].upper()}{DRAWN[metric][1:]}",
      f"{DRAWN[metric]} over {count}: {'; '.join(hints.values())}.",
      Axis("round"),
      Axis(DRAWN[metric]),
      curves,
      hints,
    )
  )
