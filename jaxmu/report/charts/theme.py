"""How every figure looks: colours by role, sizes, axes, markers; the only door to matplotlib.

Lengths are units of the page's figure, 420 wide. A `Look` says how many there are and how large one
is in print, so that one drawing serves a page and a paper's column.
"""

import math
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxmu.report.charts.plots import Axis
from jaxmu.report.marks import Mark

# By role; a page replaces them by its own, light or dark. No two are equal, so none is mistaken.
COLOURS = {
  "ink": "#1f2933",
  "soft": "#5b6875",
  "grid": "#e3e8ee",
  "rule": "#9aa5b1",
  "paper": "#fffffe",
  "blue": "#2b6cb0",
  "orange": "#c2690f",
  "green": "#2c7a52",
  "red": "#c0392b",
  "purple": "#6f4bab",
  "teal": "#157f85",
  "pink": "#b43680",
  "olive": "#7b6d10",
  "grey": "#7b8794",
}
SHAPES = dict(
  zip(("circle", "square", "diamond", "up", "down", "plus", "target"), "osD^vPo", strict=True)
)
# Alike to the eye.
AREA = {"square": 0.92, "diamond": 0.92, "up": 1.12, "down": 1.12, "plus": 1.15}
SETTINGS = {
  "font.family": ["DejaVu Sans"],
  "svg.fonttype": "none",  # text stays text
  "pdf.fonttype": 42,
  "axes.unicode_minus": True,
  "path.simplify": True,
}
DPI = 72  # a unit of a page is a point


class Look(NamedTuple):
  """How wide a figure is in its own units, and how many points one of them has."""

  width: float
  point: float = 1.0


PAGE, PAPER = Look(420), Look(360, 0.67)  # the latter fills a column of 3.35 inches


class Sheet:
  """One figure with one plot on it, and what its parts need to know."""

  def __init__(self, look: Look, marks: dict[str, Mark], height: float, width: float = 0):
    self.look, self.marks = look, marks
    self.width, self.height = width or look.width, height
    inches = (side * look.point / DPI for side in (self.width, height))
    self.figure = Figure(figsize=tuple(inches), dpi=DPI)
    FigureCanvasAgg(self.figure)  # measures text

  def axes(self, left: float, right: float, top: float, bottom: float) -> Axes:
    """Make the plot between margins, which are given from the edges of the sheet."""
    w, h = self.width, self.height
    place = (left / w, bottom / h, (w - left - right) / w, (h - top - bottom) / h)
    ax = self.figure.add_axes(place)
    ax.set_axisbelow(True)
    ax.patch.set_visible(False)
    ax.grid(color=COLOURS["grid"], linewidth=self.pt(1), linestyle="-")
    for side in ("left", "right", "top"):
      ax.spines[side].set_visible(False)
    ax.spines["bottom"].set(color=COLOURS["rule"], linewidth=self.pt(1))
    ax.tick_params(length=0, pad=self.pt(5), labelsize=self.pt(11), labelcolor=COLOURS["soft"])
    ax.minorticks_off()
    return ax

  def pt(self, units: float) -> float:
    """Return a length in points."""
    return units * self.look.point

  def colour(self, method: str) -> str:
    """Return the colour of a method."""
    return COLOURS[self.marks[method].hue]

  def label(self, method: str) -> str:
    """Return a method's name for readers."""
    return self.marks[method].label

  def words(self, ax: Axes, x: float, y: float, text: str, **given: Any) -> Any:
    """Write a name, by default in ink."""
    style = {"fontsize": self.pt(11.5), "color": COLOURS["ink"], "clip_on": False} | given
    return ax.text(x, y, text, **style)

  def marker(
    self, ax: Axes, method: str, x: float, y: float, size: float = 5, hint: str = ""
  ) -> None:
    """Draw a method's marker; `hint` is said when it is pointed at."""
    mark, colour = self.marks[method], self.colour(method)
    edge = {"markeredgecolor": COLOURS["paper"], "markeredgewidth": self.pt(0.8)}
    size = 2 * self.pt(size) * AREA.get(mark.shape, 1.0)
    style: dict[str, Any] = {"marker": SHAPES[mark.shape], "markersize": size, "clip_on": False}
    style |= {"linestyle": "", "zorder": 5, "gid": f"hint:{hint}" if hint else None}
    if mark.shape == "target":
      ring = {"markeredgecolor": colour, "markeredgewidth": self.pt(1.8), "fillstyle": "none"}
      ax.plot([x], [y], **style | ring)
      style |= {"markersize": size / 3, "gid": None}
    ax.plot([x], [y], markerfacecolor=colour, **style, **edge)

  def axis_labels(self, ax: Axes, x: str, y: str, size: float = 11.5) -> None:
    """Name the axes: x beneath, y above its numbers, so that it reads without turning the head."""
    style = {"fontsize": self.pt(size), "color": COLOURS["soft"]}
    ax.set_xlabel(x, labelpad=self.pt(6), **style)
    if y:
      left = ax.get_position().x0 * self.width - 12
      shift = (-self.pt(left), self.pt(9))
      ax.annotate(
        y, (0, 1), shift, "axes fraction", "offset points", annotation_clip=False, **style
      )


def settings(name: str) -> Any:
  """Return the context in which a figure is drawn.

  Its parts get names of their own, made from `name`: several figures stand in one page.
  """
  return mpl.rc_context({**SETTINGS, "svg.hashsalt": name})


def span(values: list[float], log: bool = False) -> tuple[float, float]:
  """Return limits that hold all finite values with a margin."""
  kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
  if not kept:
    return (1.0, 10.0) if log else (0.0, 1.0)
  low, high = (math.log10(v) if log else v for v in (min(kept), max(kept)))
  margin = 0.07 * (high - low) or max(abs(low) * 0.1, 0.01)
  low, high = low - margin, high + margin
  return (10**low, 10**high) if log else (low, high)


def scale(ax: Axes, which: str, axis: Axis, limits: tuple[float, float], count: int = 5) -> None:
  """Give an axis its limits and a few round numbers."""
  one = getattr(ax, f"{which}axis")
  getattr(ax, f"set_{which}scale")("log" if axis.log else "linear")
  getattr(ax, f"set_{which}lim")(*limits)
  if axis.log:
    decades = math.log10(limits[1] / limits[0])
    subs = (1,) if decades > 3 else (1, 3) if decades > 2 else (1, 2, 5) if decades > 0.8 else None
    one.set_major_locator(
      ticker.LogLocator(subs=subs, numticks=9) if subs else ticker.MaxNLocator(4)
    )
    one.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    one.set_minor_locator(ticker.NullLocator())
  else:
    one.set_major_locator(ticker.MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]))
