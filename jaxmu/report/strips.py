"""Figures with one line per method: the spread over seeds, and the attack with its interval."""

import math
from collections.abc import Mapping

import pandas as pd
from markupsafe import Markup

from jaxmu.audit.results import Cell
from jaxmu.audit.summary import Summary
from jaxmu.audit.text import number, value
from jaxmu.report.data import ReportData, RunData
from jaxmu.report.svg import Scale, axes, drawing, line, marker, spanning, tag, text

WIDTH, ROW, LEFT, RIGHT, TOP = 420, 24, 78, 408, 12


def distribution(
  data: ReportData, summary: Summary, shown: list[str], metric: str, label: str, ident: str
) -> Markup:
  """Draw every seed as a dot per method, over a box from quartile to quartile with the median."""
  names = [name for name in shown if summary.cell(name, metric).n]
  values = {name: _values(data.rows, name, metric) for name in names}
  x, y, height = _lines(data, names, [v for found in values.values() for v in found])
  parts = [axes(x, _bare(y), label, "", levels=False), _guide(summary, metric, x, y)]
  for place, name in enumerate(names):
    middle = TOP + ROW * (place + 0.5)
    dots = [
      tag("circle", cx=x.at(v), cy=middle + 6 * _jitter(k), r=2.2, class_="dot")
      for k, v in enumerate(values[name])
    ]
    box = _box(summary.cell(name, metric), x, middle)
    parts.append(tag("g", box, *dots, class_=f"hue-{data.marks[name].hue}"))
    parts.append(text(x.start - 8, middle + 4, data.label(name), "name", "end"))
  words = "; ".join(
    f"{data.label(name)} median {number(summary.cell(name, metric).median)}" for name in names
  )
  return drawing(ident, WIDTH, height, f"{label}: every seed", f"{words}.", *parts)


def attack(data: RunData, summary: Summary, ident: str) -> Markup:
  """Draw the strongest attack per method, T-MIA hollow beneath it, and the line of chance."""
  first = "T_strongest" if summary.has("T_strongest") else "T_MIA"
  second = "T_MIA" if first == "T_strongest" else "V_MIA"
  cells = {n: (summary.cell(n, first), summary.cell(n, second)) for n in summary.order}
  title = "Membership inference per method; one half is chance"
  quantity = {"T_strongest": "strongest attack", "T_MIA": "T-MIA"}[first]
  return intervals(data, cells, ident, title, quantity, "attack accuracy", 0.5)


def intervals(
  data: RunData,
  cells: Mapping[str, tuple[Cell, Cell]],
  ident: str,
  title: str,
  quantity: str,
  label: str,
  chance: float,
) -> Markup:
  """Draw a number with its interval per method, a second one hollow beneath, and chance.

  The band is the interval of the retrained models. Methods without the first number are left out.
  """
  cells = {name: pair for name, pair in cells.items() if pair[0].n}
  reach = [v for pair in cells.values() for cell in pair for v in (cell.mean, *cell.bounds)]
  x, y, height = _lines(data, list(cells), [chance, *reach])
  parts = [_band(cells, x, y), axes(x, _bare(y), label, "", levels=False)]
  parts.append(line(x.at(chance), TOP - 4, x.at(chance), y, "chance"))
  for place, (name, (first, second)) in enumerate(cells.items()):
    middle = TOP + ROW * (place + 0.5)
    group = []
    if first.has_interval:
      group.append(line(x.at(first.low), middle, x.at(first.high), middle, "bar"))
    if second.n:
      group.append(tag("circle", cx=x.at(second.mean), cy=middle + 6, r=2.6, class_="hollow"))
    parts.append(tag("g", *group, class_=f"hue-{data.marks[name].hue}"))
    hint = f"{data.label(name)}: {quantity} {value(first)}"
    parts.append(marker(data.marks[name], x.at(first.mean), middle, 4.6, hint))
    parts.append(text(x.start - 8, middle + 4, data.label(name), "name", "end"))
  words = "; ".join(f"{data.label(name)} {number(cells[name][0].mean)}" for name in cells)
  return drawing(ident, WIDTH, height, title, f"{quantity}: {words}.", *parts)


def _values(rows: pd.DataFrame, method: str, metric: str) -> list[float]:
  found = rows[rows["method"] == method].sort_values("seed")[metric]
  return [float(v) for v in found if math.isfinite(v)]


def _lines(data: RunData, names: list[str], values: list[float]) -> tuple[Scale, float, float]:
  """Lay out one line per method; returns the x scale, the axis' y and the figure's height.

  The names stand left of the scale; long ones push it to the right.
  """
  bottom = TOP + ROW * len(names) + 2
  left = max([LEFT, *(8.4 * len(data.label(name)) for name in names)])
  return spanning(values, min(left, RIGHT / 2), RIGHT), bottom, bottom + 38


def _bare(y: float) -> Scale:
  """A y scale that only spans the plot: its lines are named, not measured."""
  return Scale(0, 1, y, TOP - 4)


def _guide(summary: Summary, metric: str, x: Scale, y: float) -> Markup:
  cell = summary.cell("retrained", metric)
  return line(x.at(cell.mean), TOP - 4, x.at(cell.mean), y, "guide") if cell.n else Markup("")


def _band(cells: Mapping[str, tuple[Cell, Cell]], x: Scale, y: float) -> Markup:
  """Shade the interval of the retrained models: what forgetting looks like."""
  cell = cells.get("retrained", (Cell(),))[0]
  if not cell.has_interval:
    return Markup("")
  low, high = x.at(cell.low), x.at(cell.high)
  return tag("rect", x=low, y=TOP - 4, width=high - low, height=y - TOP + 4, class_="band")


def _box(cell, x: Scale, middle: float) -> Markup:
  if cell.n < 2:
    return Markup("")
  low, high, median = (x.at(v) for v in (cell.q25, cell.q75, cell.median))
  box = tag("rect", x=low, y=middle - 8, width=high - low, height=16, rx=2, class_="box")
  return box + line(median, middle - 8, median, middle + 8, "median")


def _jitter(k: int) -> float:
  """Spread dots over -1..1 by the golden ratio: even, and the same every time."""
  return 2 * ((0.5 + 0.618034 * k) % 1) - 1
