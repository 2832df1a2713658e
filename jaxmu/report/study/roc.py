"""ROC curves with two logarithmic axes: what an attacker gets who must not accuse wrongly."""

import math

import numpy as np
import pandas as pd
from markupsafe import Markup

from jaxmu.audit.text import number
from jaxmu.report.study.data import StudyData
from jaxmu.report.svg import Scale, axes, drawing, line, marker, path, tag

WIDTH, HEIGHT = 420, 390
LEFT, RIGHT, TOP, BOTTOM = 46, 410, 26, 350
LOWEST = 1e-5  # rates below rest on too few pairs to be drawn
RATES = (0.01, 0.001)  # of the table, marked by lines


def curves(data: StudyData, ident: str) -> Markup:
  """Draw true- against false-positive rate per method, with the diagonal of chance."""
  found = {name: _points(data.roc[name]) for name in data.order if name in data.roc}
  found = {name: points for name, points in found.items() if len(points)}
  low = max(LOWEST, min((points[0, 0] for points in found.values()), default=1e-3))
  low = min(low, 0.1)
  x, y = Scale(low, 1, LEFT, RIGHT, log=True), Scale(low, 1, BOTTOM, TOP, log=True)
  parts = [axes(x, y, "false-positive rate (log scale)", "true-positive rate (log scale)")]
  parts += [line(x.at(r), TOP, x.at(r), BOTTOM, "guide") for r in RATES if r >= low]
  parts.append(line(x.at(low), y.at(low), x.at(1), y.at(1), "chance"))
  parts += [_draw(data, name, points, x, y) for name, points in found.items()]
  words = "; ".join(f"{data.label(n)} {number(_rate(p, 0.01))}" for n, p in found.items())
  title = "ROC curves of U-LiRA, both axes logarithmic"
  text = f"True-positive rate at a false-positive rate of 1 %: {words}."
  return drawing(ident, WIDTH, HEIGHT, title, text, *parts)


def _points(table: pd.DataFrame) -> np.ndarray:
  """Return the points that a logarithm can show, [n, 2], by rising false-positive rate."""
  points = table[["fpr", "tpr"]].to_numpy(float)
  points = points[(points > 0).all(1) & (points <= 1).all(1)]
  return points[np.lexsort(points.T[::-1])]


def _draw(data: StudyData, name: str, points: np.ndarray, x: Scale, y: Scale) -> Markup:
  """Draw a curve with a marker per decade; what lies below the plot is left out."""
  inside = lambda value: value if value >= x.low else math.nan
  drawn = [(x.at(inside(f)), y.at(inside(t))) for f, t in points.tolist()]
  parts = [path(drawn, "curve")]
  for power in range(math.ceil(math.log10(x.low) - 1e-9), 0):
    rate = _rate(points, 10.0**power)
    if rate >= x.low:
      hint = f"{data.label(name)}: {number(rate, 4)} at {10.0**power:g}"
      parts.append(marker(data.marks[name], x.at(10.0**power), y.at(rate), 3.8, hint))
  return tag("g", *parts, class_=f"hue-{data.marks[name].hue}")


def _rate(points: np.ndarray, fpr: float) -> float:
  """Return the true-positive rate at a false-positive rate, NaN outside the curve."""
  if not points[0, 0] <= fpr <= points[-1, 0]:
    return math.nan
  return float(10 ** np.interp(math.log10(fpr), *np.log10(points).T))
