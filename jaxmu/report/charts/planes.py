"""Methods as markers in a plane, with names that cover nothing."""

import math

from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxmu.audit.results import Cell
from jaxmu.report.charts.plots import Plane
from jaxmu.report.charts.theme import COLOURS, Look, Sheet, scale, span
from jaxmu.report.marks import Mark


def plane(plot: Plane, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw markers, intervals behind them, the guide's lines and single members as a cloud."""
  sheet = Sheet(look, marks, 320)
  ax = sheet.axes(46, 10, 26, 42)
  across = [v for x, _ in plot.points.values() for v in (x.mean, *x.bounds)]
  along = [v for _, y in plot.points.values() for v in (y.mean, *y.bounds)]
  for dots in plot.cloud.values():
    across, along = [*across, *dots[:, 0].tolist()], [*along, *dots[:, 1].tolist()]
  scale(ax, "x", plot.x, span(across, plot.x.log))
  scale(ax, "y", plot.y, span(along, plot.y.log))
  if plot.guide in plot.points:
    x, y = plot.points[plot.guide]
    style = {"color": COLOURS["soft"], "linewidth": sheet.pt(1), "linestyle": (0, (2, 3))}
    ax.axvline(x.mean, **style)
    ax.axhline(y.mean, **style)
  for name, dots in plot.cloud.items():
    style = {"color": sheet.colour(name), "alpha": 0.3, "markersize": sheet.pt(5), "linestyle": ""}
    ax.plot(dots[:, 0], dots[:, 1], marker="o", markeredgewidth=0, zorder=2, **style)
  bars = []
  for name, (x, y) in plot.points.items():
    bars += _bars(sheet, ax, name, x, y)
    sheet.marker(ax, name, x.mean, y.mean, hint=plot.hints.get(name, ""))
  sheet.axis_labels(ax, plot.x.label, plot.y.label)
  _names(sheet, ax, plot, bars)
  return sheet.figure


def _bars(sheet: Sheet, ax: Axes, name: str, x: Cell, y: Cell) -> list[Line2D]:
  """Draw the two intervals as a cross behind the marker."""
  drawn, style = (
    [],
    {"color": sheet.colour(name), "alpha": 0.7, "linewidth": sheet.pt(1.6), "zorder": 3},
  )
  if x.has_interval:
    drawn += ax.plot([x.low, x.high], [y.mean, y.mean], **style)
  if y.has_interval:
    drawn += ax.plot([x.mean, x.mean], [y.low, y.high], **style)
  return drawn


def _names(sheet: Sheet, ax: Axes, plot: Plane, bars: list[Line2D]) -> None:
  """Write each name where it covers least; one that had to move away gets a thin line."""
  at = {name: (x.mean, y.mean) for name, (x, y) in plot.points.items()}
  at = {name: place for name, place in at.items() if all(map(math.isfinite, place))}
  texts = [sheet.words(ax, *place, sheet.label(name), ha="center") for name, place in at.items()]
  sheet.figure.canvas.draw()
  if texts:
    line = {"arrowstyle": "-", "color": COLOURS["rule"], "linewidth": sheet.pt(0.8)}
    adjust_text(
      texts,
      x=[x for x, _ in at.values()],
      y=[y for _, y in at.values()],
      ax=ax,
      arrowprops=line,
      objects=bars or None,
      expand=(1.2, 1.9),
      force_static=(0.2, 0.35),
      force_text=(0.8, 1.2),
      min_arrow_len=sheet.pt(8),
      iter_lim=150,
      ensure_inside_axes=True,
    )
