"""Scatter figures: retention deviation against indiscernibility, and either against speed."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

from jaxmu.audit.summary import Summary
from jaxmu.audit.text import factor, interval, number
from jaxmu.report.data import ReportData, RunData
from jaxmu.report.svg import Scale, axes, drawing, line, marker, spanning, tag, text

WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 46, 410, 26, 280
LABELS = {
  "RetDev": "RetDev (0 is ideal)",
  "Indisc": "Indisc (1 is ideal)",
  "RTE_work": "RTE, times cheaper than retraining (log scale)",
}

_D = 0.8  # diagonal
_DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (_D, -_D), (_D, _D), (-_D, -_D), (-_D, _D))


class Box(NamedTuple):
  left: float
  top: float
  right: float
  bottom: float

  def overlap(self, other: "Box") -> float:
    width = min(self.right, other.right) - max(self.left, other.left)
    height = min(self.bottom, other.bottom) - max(self.top, other.top)
    return max(width, 0) * max(height, 0)


def scatter(
  data: ReportData,
  summary: Summary,
  x_metric: str,
  y_metric: str,
  shown: Iterable[str],
  ident: str,
) -> Markup:
  """Draw one marker per method at its means, with bars for the bootstrap intervals.

  `shown` leaves out methods that would squeeze all others together; the caller names them.
  """
  log = x_metric == "RTE_work"
  names = [name for name in shown if _drawable(summary, name, x_metric, y_metric)]
  x = spanning(_values(summary, names, x_metric), LEFT, RIGHT, log=log)
  y = spanning(_values(summary, names, y_metric), BOTTOM, TOP)
  places = {name: _place(summary, name, x_metric, y_metric, x, y) for name in names}
  guide = "retrained" in places
  parts = [axes(x, y, LABELS[x_metric], LABELS[y_metric])]
  if guide:
    px, py = places["retrained"]
    parts += [line(px, TOP, px, BOTTOM, "guide"), line(LEFT, py, RIGHT, py, "guide")]
  parts += [_bars(data, summary, name, x_metric, y_metric, x, y) for name in names]
  parts += [
    marker(data.marks[name], *places[name], 5, _hint(data, summary, name)) for name in names
  ]
  obstacles = [box for n in names for box in _extents(summary, n, x_metric, y_metric, x, y)]
  if guide:
    obstacles += [Box(px - 1, TOP, px + 1, BOTTOM), Box(LEFT, py - 1, RIGHT, py + 1)]
  parts += _labels(data, places, obstacles)
  title = f"{y_metric} against {x_metric}".replace("RTE_work", "RTE")
  words = _describe(data, summary, names, x_metric, y_metric)
  return drawing(ident, WIDTH, HEIGHT, title, words, *parts)


def without_outliers(summary: Summary, destroyed: Iterable[str]) -> tuple[list[str], list[str]]:
  """Split the methods into those drawn and those left out of the plane of RetDev and Indisc.

  Left out: methods that destroyed the model, and those more than four times as far from retraining
  as the farthest of the better half.
  """
  values = sorted(
    v for v in (summary.cell(name, "RetDev").mean for name in summary.methods) if math.isfinite(v)
  )
  limit = 4 * values[(len(values) - 1) // 2] if values else math.inf
  far = lambda name: summary.cell(name, "RetDev").mean > max(limit, 0.2)
  out = [name for name in summary.methods if name in set(destroyed) or far(name)]
  return [name for name in summary.order if name not in out], out


def _drawable(summary: Summary, name: str, x_metric: str, y_metric: str) -> bool:
  x, y = summary.cell(name, x_metric).mean, summary.cell(name, y_metric).mean
  if name == "original" and x_metric == "RTE_work":
    return False  # doing nothing is not a method
  return math.isfinite(x) and math.isfinite(y) and (x > 0 or x_metric != "RTE_work")


def _values(summary: Summary, names: Iterable[str], metric: str) -> list[float]:
  cells = [summary.cell(name, metric) for name in names]
  return [v for cell in cells for v in (cell.mean, *cell.bounds)]


def _place(summary, name, x_metric, y_metric, x: Scale, y: Scale) -> tuple[float, float]:
  return x.at(summary.cell(name, x_metric).mean), y.at(summary.cell(name, y_metric).mean)


def _bars(data, summary, name, x_metric, y_metric, x: Scale, y: Scale) -> Markup:
  """Draw the two intervals as a cross behind the marker."""
  across, along = summary.cell(name, x_metric), summary.cell(name, y_metric)
  px, py = x.at(across.mean), y.at(along.mean)
  parts = []
  if across.has_interval:
    parts.append(line(x.at(across.low), py, x.at(across.high), py, "bar"))
  if along.has_interval:
    parts.append(line(px, y.at(along.low), px, y.at(along.high), "bar"))
  return tag("g", *parts, class_=f"hue-{data.marks[name].hue}")


def _extents(summary, name, x_metric, y_metric, x: Scale, y: Scale) -> list[Box]:
  """Return the space that the marker's bars take, which no name should cover."""
  across, along = summary.cell(name, x_metric), summary.cell(name, y_metric)
  px, py = x.at(across.mean), y.at(along.mean)
  (left, right), (bottom, top) = map(x.at, across.bounds), map(y.at, along.bounds)
  return [Box(left, py - 3, right, py + 3), Box(px - 3, top, px + 3, bottom)]


def _hint(data: RunData, summary: Summary, name: str) -> str:
  cells = [(metric, summary.cell(name, metric)) for metric in ("RetDev", "Indisc")]
  words = [f"{metric} {number(c.mean)} {interval(c)}".strip() for metric, c in cells]
  speed = "" if name == "original" else f", RTE {factor(summary.cell(name, 'RTE_work').mean)}"
  return f"{data.label(name)}: {', '.join(words)}{speed}"


def _labels(
  data: RunData, places: dict[str, tuple[float, float]], obstacles: list[Box]
) -> list[Markup]:
  """Write each name where it covers least; a crowded name moves out on a thin line."""
  taken = [Box(px - 6, py - 6, px + 6, py + 6) for px, py in places.values()] + obstacles
  parts = []
  for name, (px, py) in places.items():
    words = data.label(name)
    box, radius = min(_candidates(px, py, 7 * len(words)), key=lambda c: _cost(c, taken))
    taken.append(Box(box.left - 3, box.top, box.right + 3, box.bottom))
    middle = (box.left + box.right) / 2
    if radius > 20:
      near_x, near_y = min(max(px, box.left), box.right), min(max(py, box.top), box.bottom)
      parts.append(line(px, py, near_x, near_y, "leader"))
    parts.append(text(middle, box.bottom - 3, words, "name"))
  return parts


def _candidates(px: float, py: float, width: float) -> list[tuple[Box, float]]:
  found = []
  for radius in (9, 14, 24, 36):
    for dx, dy in _DIRECTIONS:
      left = px + radius * dx - (0 if dx > 0 else width if dx < 0 else width / 2)
      middle = py + (radius + 2) * dy
      found.append((Box(left, middle - 7, left + width, middle + 7), radius))
  return found


def _cost(candidate: tuple[Box, float], taken: list[Box]) -> float:
  box, radius = candidate
  plot = Box(LEFT, TOP - 8, RIGHT + 6, BOTTOM)
  outside = (box.right - box.left) * (box.bottom - box.top) - box.overlap(plot)
  return sum(box.overlap(other) for other in taken) + 3 * outside + radius / 2


def _describe(
  data: RunData, summary: Summary, names: list[str], x_metric: str, y_metric: str
) -> str:
  points = [
    f"{data.label(name)} {number(summary.cell(name, x_metric).mean)} and "
    f"{number(summary.cell(name, y_metric).mean)}"
    for name in names
  ]
  axes_named = f"{x_metric} and {y_metric}".replace("RTE_work", "RTE")
  return f"{axes_named} per method: {'; '.join(points)}."
