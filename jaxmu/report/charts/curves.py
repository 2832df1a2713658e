"""Figures of curves: training, ROC, and histograms over samples."""

import math

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmu.report.charts.plots import Axis, Curve, Histogram, Lines, Roc
from jaxmu.report.charts.theme import COLOURS, Look, Sheet, scale, span
from jaxmu.report.marks import Mark

TILE = 200  # units; a tile is as large in print


def lines(plot: Lines, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw curves with the range of their members, a marker and its value at the end of each."""
  sheet, ax = _sheet(marks, look, 260, plot.small, 150)
  longest = max((len(one.x) for one in plot.curves.values()), default=1)
  ends = [np.r_[one.low, one.high] for one in plot.curves.values()]
  scale(ax, "x", plot.x, (0.5, longest + 0.5))
  limits = span(np.concatenate(ends or [np.ones(1)]).tolist(), plot.y.log)
  scale(ax, "y", plot.y, limits, 4 if plot.small else 5)
  ax.xaxis.set_major_locator(ticker.MaxNLocator(4 if plot.small else 5, integer=True))
  for name, one in plot.curves.items():
    for start in one.starts:
      _guide(sheet, ax, start - 0.5)
    _curve(sheet, ax, name, one)
    sound = np.flatnonzero(np.isfinite(one.y))
    if sound.size:
      end = sound[-1]
      sheet.marker(ax, name, one.x[end], one.y[end], 3.6, plot.hints.get(name, ""))
  _labels(sheet, ax, plot.x, plot.y, plot.small)
  return sheet.figure


def roc(plot: Roc, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw true- against false-positive rates, the diagonal of chance, a marker per decade."""
  sheet = Sheet(look, marks, 390)
  ax = sheet.axes(46, 10, 26, 40)
  axes = (
    Axis("false-positive rate (log scale)", True),
    Axis("true-positive rate (log scale)", True),
  )
  for which, axis in zip("xy", axes):
    scale(ax, which, axis, (plot.lowest, 1))
  for rate in plot.rates:
    if rate >= plot.lowest:
      _guide(sheet, ax, rate)
  ax.plot([plot.lowest, 1], [plot.lowest, 1], color=COLOURS["ink"], linewidth=sheet.pt(1.2))
  for name, one in plot.curves.items():
    _curve(sheet, ax, name, one)
    for rate, hint in plot.hints.get(name, {}).items():
      height = 10 ** np.interp(math.log10(rate), np.log10(one.x), np.log10(one.y))
      if height >= plot.lowest:
        sheet.marker(ax, name, rate, float(height), 3.8, hint)
  sheet.axis_labels(ax, axes[0].label, axes[1].label)
  return sheet.figure


def histogram(plot: Histogram, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw one outline over that of the retrained models."""
  sheet, ax = _sheet(marks, look, 0, True, 138)
  scale(ax, "x", Axis(""), (plot.edges[0], plot.edges[-1]), 4)
  scale(ax, "y", Axis(""), (0, plot.top), 4)
  if plot.noise is not None:
    ax.stairs(plot.noise, plot.edges, fill=True, color=COLOURS["ink"], alpha=0.16)
  ax.axvline(plot.chance, color=COLOURS["ink"], linewidth=sheet.pt(1.2))
  _guide(sheet, ax, plot.guide)
  style = {"color": sheet.colour(plot.method), "linewidth": sheet.pt(1.8), "baseline": None}
  ax.stairs(plot.shares, plot.edges, **style)
  sheet.axis_labels(ax, "", plot.label, 11)
  return sheet.figure


def _sheet(marks, look: Look, height: float, small: bool, low: float) -> tuple[Sheet, Axes]:
  if not small:
    sheet = Sheet(look, marks, height)
    return sheet, sheet.axes(46, 10, 26, 40)
  sheet = Sheet(look, marks, low, TILE)
  return sheet, sheet.axes(40, 8, 24, 24)


def _labels(sheet: Sheet, ax: Axes, x: Axis, y: Axis, small: bool) -> None:
  words = f"{y.label}, log scale" if y.log else y.label
  sheet.axis_labels(ax, "" if small else x.label, words, 11 if small else 11.5)


def _guide(sheet: Sheet, ax: Axes, x: float) -> None:
  ax.axvline(x, color=COLOURS["soft"], linewidth=sheet.pt(1), linestyle=(0, (2, 3)))


def _curve(sheet: Sheet, ax: Axes, name: str, one: Curve) -> None:
  colour, dashed = sheet.colour(name), sheet.marks[name].hue == "grey"
  ax.fill_between(one.x, one.low, one.high, color=colour, alpha=0.16, linewidth=0)
  style = {"color": colour, "linewidth": sheet.pt(1.8), "solid_joinstyle": "round"}
  ax.plot(one.x, one.y, linestyle=(0, (5, 3)) if dashed else "-", **style)
