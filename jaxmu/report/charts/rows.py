"""Figures with one line per method: attacks, every seed, and the order of the methods."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxmu.report.charts.plots import Axis, Ranking, Spread, Strip
from jaxmu.report.charts.theme import COLOURS, Look, Sheet, scale, span
from jaxmu.report.marks import Mark

ROW, TOP, RIGHT, BELOW = 24, 12, 12, 38


def strip(plot: Strip, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw a number with its interval per method, a second one hollow beneath, and chance."""
  reach = [v for pair in plot.cells.values() for one in pair for v in (one.mean, *one.bounds)]
  sheet, ax = _lines(list(plot.cells), plot.axis, [plot.chance, *reach], marks, look)
  if plot.band.has_interval:
    ax.axvspan(plot.band.low, plot.band.high, color=COLOURS["ink"], alpha=0.08, linewidth=0)
  ax.axvline(plot.chance, color=COLOURS["ink"], linewidth=sheet.pt(1.2))
  for place, (name, (first, second)) in enumerate(plot.cells.items()):
    colour = sheet.colour(name)
    if first.has_interval:
      style = {"color": colour, "alpha": 0.75, "linewidth": sheet.pt(1.6)}
      ax.plot([first.low, first.high], [place, place], **style)
    if second.n:
      hollow = {"markerfacecolor": COLOURS["paper"], "markeredgecolor": colour, "marker": "o"}
      size = {"markersize": sheet.pt(5.2), "markeredgewidth": sheet.pt(1.2)}
      ax.plot([second.mean], [place + 0.25], clip_on=False, **hollow, **size)
    sheet.marker(ax, name, first.mean, place, 4.6, plot.hints.get(name, ""))
  return sheet.figure


def spread(plot: Spread, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw every member as a dot, over a box from quartile to quartile with the median."""
  reach = [float(v) for values in plot.values.values() for v in values]
  sheet, ax = _lines(list(plot.values), plot.axis, [plot.guide, *reach], marks, look)
  style = {"color": COLOURS["soft"], "linewidth": sheet.pt(1), "linestyle": (0, (2, 3))}
  ax.axvline(plot.guide, **style)
  for place, (name, values) in enumerate(plot.values.items()):
    colour = sheet.colour(name)
    if len(values) > 1:
      low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
      box = {"facecolor": (colour, 0.13), "edgecolor": (colour, 0.5), "linewidth": sheet.pt(1)}
      ax.add_patch(Rectangle((low, place - 0.33), high - low, 0.66, **box))
      ends, style = [place - 0.33, place + 0.33], {"color": colour, "linewidth": sheet.pt(2)}
      ax.plot([middle, middle], ends, solid_capstyle="butt", **style)
    heights = [place + 0.25 * _jitter(k) for k in range(len(values))]
    dots = {"color": colour, "alpha": 0.55, "markersize": sheet.pt(4.4), "markeredgewidth": 0}
    ax.plot(values, heights, "o", clip_on=False, **dots)
  return sheet.figure


def ranking(plot: Ranking, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw differences from the best, best first, and bars beside those not told apart."""
  names = list(plot.gaps)
  reach = [v for gap in plot.gaps.values() for v in (gap.mean, *gap.bounds)]
  sheet, ax = _lines(names, plot.axis, [0.0, *reach], marks, look, ranks=plot.ranks)
  ax.axvline(0, color=COLOURS["ink"], linewidth=sheet.pt(1.2))
  for place, (name, gap) in enumerate(plot.gaps.items()):
    if gap.has_interval:
      style = {"color": sheet.colour(name), "alpha": 0.75, "linewidth": sheet.pt(1.6)}
      ax.plot([gap.low, gap.high], [place, place], **style)
    sheet.marker(ax, name, gap.mean, place, 4.6, plot.hints.get(name, ""))
  low, high = ax.get_xlim()
  step = 0.022 * (high - low)
  for k, group in enumerate(plot.groups):
    x = high + step * (k + 0.6)
    ends = [names.index(group[0]) - 0.32, names.index(group[-1]) + 0.32]
    ax.plot([x, x], ends, color=COLOURS["ink"], linewidth=sheet.pt(2.4), clip_on=False)
  return sheet.figure


def _lines(
  names: list[str],
  axis: Axis,
  values: list[float],
  marks: dict[str, Mark],
  look: Look,
  ranks=None,
) -> tuple[Sheet, Axes]:
  """Lay out one line per method; names, and ranks if there are any, stand left of the plot."""
  sheet = Sheet(look, marks, TOP + ROW * max(len(names), 1) + 2 + BELOW)
  written = [sheet.label(n) + (f"  {ranks[n]:.1f}" if ranks else "") for n in names]
  longest = max((len(words) for words in written), default=0)
  left = min(max(64, 7.2 * longest + 14), look.width / 2)
  right = RIGHT + (40 if ranks else 0)
  ax = sheet.axes(left, right, TOP - 4, BELOW)
  scale(ax, "x", axis, span(values, axis.log))
  ax.set_ylim(len(names) - 0.45, -0.6)
  ax.set_yticks(range(len(names)), written, fontsize=sheet.pt(11.5), color=COLOURS["ink"])
  ax.grid(visible=False, axis="y")
  ax.set_xlabel(axis.label, fontsize=sheet.pt(11.5), color=COLOURS["soft"], labelpad=sheet.pt(6))
  return sheet, ax


def _jitter(k: int) -> float:
  """Spread dots over -1..1 by the golden ratio: even, and the same every time."""
  return 2 * ((0.5 + 0.618034 * k) % 1) - 1
