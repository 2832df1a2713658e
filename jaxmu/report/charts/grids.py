"""Numbers of methods by column as coloured fields, for what has too many columns for a table."""

import numpy as np
from matplotlib.figure import Figure

from jaxmu.report.charts.plots import Grid
from jaxmu.report.charts.theme import COLOURS, Look, Sheet
from jaxmu.report.marks import Mark

ROW, LEFT, TOP = 22, 70, 70


def grid(plot: Grid, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw fields from blue (below zero) over none to orange (above), with the number inside."""
  sheet = Sheet(look, marks, TOP + ROW * len(plot.methods) + 14)
  ax = sheet.axes(LEFT, 8, TOP, 14)
  most = max(float(np.nanmax(np.abs(plot.values), initial=0.0)), 1e-9)
  for row, name in enumerate(plot.methods):
    for column, value in enumerate(plot.values[row].tolist()):
      if not np.isfinite(value):
        continue
      colour, depth = COLOURS["blue" if value < 0 else "orange"], 0.75 * abs(value) / most
      ax.axvspan(
        column - 0.5,
        column + 0.5,
        1 - (row + 0.97) / len(plot.methods),
        1 - (row + 0.03) / len(plot.methods),
        color=colour,
        alpha=depth,
        linewidth=0,
        gid=f"hint:{sheet.label(name)}, {plot.columns[column]}: {value:+.3f}",
      )
      if len(plot.columns) <= 12:
        text = f"{value:+.{plot.digits}f}".replace("-", "−").replace("0.", ".")
        size = {"fontsize": sheet.pt(9), "ha": "center", "va": "center"}
        sheet.words(ax, column, row, text, **size)
  ax.set_xlim(-0.5, len(plot.columns) - 0.5)
  ax.set_ylim(len(plot.methods) - 0.5, -0.5)
  ax.grid(visible=False)
  ax.spines["bottom"].set_visible(False)
  names = [sheet.label(name) for name in plot.methods]
  ax.set_yticks(range(len(names)), names, fontsize=sheet.pt(11), color=COLOURS["ink"])
  ax.xaxis.tick_top()
  turned = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"}
  ax.set_xticks(range(len(plot.columns)), plot.columns, fontsize=sheet.pt(10), **turned)
  place = {"transform": sheet.figure.transFigure, "va": "top", "color": COLOURS["soft"]}
  sheet.words(ax, 0.02, 0.99, plot.label, **place)
  return sheet.figure
