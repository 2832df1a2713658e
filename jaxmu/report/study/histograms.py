"""How exposed single samples are: one histogram of per-sample accuracies per method."""

import math

import numpy as np
from markupsafe import Markup

from jaxmu.audit.attacks.exposure import ABOVE
from jaxmu.audit.text import number
from jaxmu.report.study.data import StudyData
from jaxmu.report.svg import Scale, axes, drawing, line, path, tag

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 200, 138, 40, 184, 22, 116
BINS = 30


def panels(data: StudyData) -> dict[str, Markup]:
  """Draw one histogram per method, that of the retrained models behind it, on common scales."""
  found = {n: data.attacked(n)["accuracy"].to_numpy(float) for n in data.order}
  found = {name: values for name, values in found.items() if len(values)}
  if not found:
    return {}
  edges = _edges(np.concatenate(list(found.values())))
  shares = {name: share(values, edges) for name, values in found.items()}
  top = 1.05 * max(values.max() for values in shares.values())
  x, y = Scale(edges[0], edges[-1], LEFT, RIGHT), Scale(0, top, BOTTOM, TOP)
  noise = shares.get("retrained")
  return {
    name: _panel(data, f"fig-samples-{k}", name, values, shares[name], noise, edges, x, y)
    for k, (name, values) in enumerate(found.items())
  }


def share(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
  """Return the share of the values in each bin; values outside count in the outer bins."""
  inside = np.clip(values, edges[0], edges[-1])
  return np.histogram(inside, edges)[0] / len(values)


def _edges(values: np.ndarray) -> np.ndarray:
  """Return bins that hold all but one sample in a thousand on each side, and one half."""
  low, high = np.quantile(values, (0.001, 0.999))
  low, high = min(low, 0.45), max(high, ABOVE + 0.05)
  return np.linspace(math.floor(20 * low) / 20, math.ceil(20 * high) / 20, BINS + 1)


def _panel(
  data: StudyData,
  ident: str,
  name: str,
  values: np.ndarray,
  shares: np.ndarray,
  noise: np.ndarray | None,
  edges: np.ndarray,
  x: Scale,
  y: Scale,
) -> Markup:
  parts = [axes(x, y, "", f"{data.label(name)}: share of samples", count=4)]
  if noise is not None:
    parts.append(tag("g", _outline(noise, edges, x, y, "range"), class_="hue-ink"))
  parts.append(line(x.at(0.5), TOP, x.at(0.5), BOTTOM, "chance"))
  parts.append(line(x.at(ABOVE), TOP, x.at(ABOVE), BOTTOM, "guide"))
  outline = _outline(shares, edges, x, y, "curve")
  parts.append(tag("g", outline, class_=f"hue-{data.marks[name].hue}"))
  above = float((values > ABOVE).mean())
  words = f"Median {number(float(np.median(values)))}, share above {ABOVE} {number(above)}."
  title = f"{data.label(name)}: attack accuracy per sample"
  return drawing(ident, WIDTH, HEIGHT, title, words, *parts)


def _outline(shares: np.ndarray, edges: np.ndarray, x: Scale, y: Scale, kind: str) -> Markup:
  """Draw a histogram as one outline from the axis to the axis."""
  heights = np.concatenate([[0], np.repeat(shares, 2), [0]])
  places = np.repeat(edges, 2)
  points = [(x.at(place), y.at(height)) for place, height in zip(places.tolist(), heights.tolist())]
  return path(points, kind)
