"""Configurations as lines across one axis for each hyper-parameter."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from jaxmu.report.charts.plots import Axis, Parallel
from jaxmu.report.charts.theme import COLOURS, Look, Sheet
from jaxmu.report.marks import Mark

TOP, BOTTOM, SIDE = 78, 26, 30


def parallel(plot: Parallel, marks: dict[str, Mark], look: Look) -> Figure:
  """Draw every configuration as a line, and the best ones dark over the others."""
  sheet = Sheet(look, marks, 250)
  ax = sheet.axes(SIDE, SIDE + 22, TOP, BOTTOM)
  places = np.arange(len(plot.axes))
  heights = np.stack([_height(plot.values[:, k], axis) for k, axis in enumerate(plot.axes)], 1)
  layers = {
    False: {"color": COLOURS["grey"], "alpha": 0.28, "linewidth": sheet.pt(0.8)},
    True: {"color": sheet.colour(plot.method), "alpha": 0.85, "linewidth": sheet.pt(1.4)},
  }
  for best, style in layers.items():
    lines = [np.stack([places, row], 1) for row in heights[plot.best == best]]
    ax.add_collection(LineCollection(lines, zorder=2 + best, **style))
  ax.set(xlim=(0, max(len(places) - 1, 1)), ylim=(0, 1))
  ax.set_yticks([])
  ax.grid(visible=False)
  ax.spines["bottom"].set_visible(False)
  for place, column in zip(places, plot.values.T):
    ax.axvline(place, color=COLOURS["rule"], linewidth=sheet.pt(1), zorder=1)
    small = {"fontsize": sheet.pt(10), "color": COLOURS["soft"], "ha": "center"}
    for value, height, side in ((column.min(), -0.04, "top"), (column.max(), 1.03, "bottom")):
      sheet.words(ax, place, height, f"{value:.3g}", va=side, **small)
  ax.xaxis.tick_top()
  ax.tick_params(axis="x", pad=sheet.pt(17))
  turned = {"rotation": 24, "ha": "left", "rotation_mode": "anchor"}
  names = [axis.label for axis in plot.axes]
  ax.set_xticks(places, names, fontsize=sheet.pt(10), color=COLOURS["ink"], **turned)
  return sheet.figure


def _height(values: np.ndarray, axis: Axis) -> np.ndarray:
  """Place values between the lowest, 0, and the highest, 1, of an axis."""
  values = np.log(values) if axis.log else values
  low, high = values.min(), values.max()
  return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
