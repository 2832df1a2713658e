"""Numbers of methods by column as coloured fields, for what has too many columns for a table."""

import numpy as np
from matplotlib.figure import Figure

from jaxmu.report.charts.plots import Grid
from jaxmu.report.charts.theme import COLOURS, Look, Sheet
from jaxmu.report.marks import Mark

ROW, LEFT, TOP = 22, 70, 70


def grid(plot: Grid, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw fields from blue (below zero) over none to orange (above), with the number inside."""
  count = len(plot.lines or plot.methods)
  sheet = Sheet(look, marks, TOP + ROW * count + 14)
  names = list(plot.lines) or [sheet.label(name) for name in plot.methods]
  sign = "+" if plot.signed else ""
  ax = sheet.axes(LEFT, 8, TOP, 14)
  most = max(float(np.nanmax(np.abs(plot.values), initial=0.0)), 1e-9)
  for row, name in enumerate(names):
    for column, value in enumerate(plot.values[row].tolist()):
      if not np.isfinite(value):
        continue
      colour, depth = COLOURS["blue" if value < 0 else "orange"], 0.75 * abs(value) / most
      ax.axvspan(
        column - 0.5,
        column + 0.5,
        1 - (row + 0.97) / count,
        1 - (row + 0.03) / count,
        color=colour,
        alpha=depth,
        linewidth=0,
        gid=f"hint:{name}, {plot.columns[column]}: {value:{sign}.3f}",
      )
      if len(plot.columns) <= 12:
        text = f"{value:{sign}.{plot.digits}f}".replace("-", "−").replace("0.", ".")
        size = {"fontsize": sheet.pt(9), "ha": "center", "va": "center"}
        sheet.words(ax, column, row, text, **size)
  ax.set_xlim(-0.5, len(plot.columns) - 0.5)
  ax.set_ylim(count - 0.5, -0.5)
  ax.grid(visible=False)
  ax.spines["bottom"].set_visible(False)
  ax.set_yticks(range(len(names)), names, fontsize=sheet.pt(11), color=COLOURS["ink"])
  ax.xaxis.tick_top()
  turned = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"}
  ax.set_xticks(range(len(plot.columns)), plot.columns, fontsize=sheet.pt(10), **turned)
  place = {"transform": sheet.figure.transFigure, "va": "top", "color": COLOURS["soft"]}
  sheet.words(ax, 0.02, 0.99, plot.label, **place)
  return sheet.figure
