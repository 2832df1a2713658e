"""Training curves: loss and accuracy per epoch, mean over seeds with the range of the seeds."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from jaxmu.audit.text import number
from jaxmu.report.data import ReportData
from jaxmu.report.svg import Scale, axes, drawing, line, marker, path, spanning, tag

WIDE = (420, 260, 46, 410, 26, 220)  # width, height, left, right, top, bottom
SMALL = (200, 150, 40, 194, 22, 116)
NAMES = {"loss": "training loss", "accuracy": "training accuracy"}


class Curve(NamedTuple):
  """One quantity of one stage over epochs, counted on through its phases."""

  epochs: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray
  starts: tuple[int, ...]  # epochs at which a later phase begins


def stages(curves: pd.DataFrame, order: tuple[str, ...]) -> list[str]:
  """List the stages that have curves, in the order of the tables."""
  present = set(curves["stage"])
  return [name for name in order if name in present]


def curve(curves: pd.DataFrame, stage: str, quantity: str) -> Curve:
  """Aggregate over seeds; seeds that are NaN at an epoch are left out there."""
  part = curves[curves["stage"] == stage]
  groups = part.groupby(["phase", "epoch"], sort=False)[quantity]
  table = groups.agg(["mean", "min", "max"]).reset_index()
  begin = {phase: k for k, phase in enumerate(dict.fromkeys(table["phase"]))}
  table = table.assign(rank=table["phase"].map(begin)).sort_values(["rank", "epoch"])
  ranks = table["rank"].to_numpy()
  starts = tuple(int(k) + 1 for k in np.flatnonzero(np.diff(ranks)) + 1)
  values = (table[name].to_numpy(dtype=float) for name in ("mean", "min", "max"))
  return Curve(np.arange(1, len(table) + 1), *values, starts)


def panel(data: ReportData, names: list[str], quantity: str, ident: str, small: bool) -> Markup:
  """Draw the curves of the named stages in one plot."""
  width, height, left, right, top, bottom = SMALL if small else WIDE
  found = {name: curve(data.curves, name, quantity) for name in names}
  longest = max((len(c.epochs) for c in found.values()), default=1)
  x = _Epochs(0.5, longest + 0.5, left, right)
  y = _y_scale(found, quantity, bottom, top)
  label = f"{data.label(names[0])}: {quantity}" if small else NAMES[quantity]
  parts = [_axes(x, y, label, small)]
  for name, one in found.items():
    parts += [line(x.at(s - 0.5), top, x.at(s - 0.5), bottom, "guide") for s in one.starts]
    parts.append(_draw(data, name, one, x, y))
  labels = ", ".join(data.label(name) for name in names)
  words = "; ".join(f"{data.label(n)} ends at {number(_last(c.mean))}" for n, c in found.items())
  title = f"{NAMES[quantity]} per epoch: {labels}"
  return drawing(ident, width, height, title, f"Mean over seeds. {words}.", *parts)


def _axes(x: Scale, y: Scale, label: str, small: bool) -> Markup:
  label = f"{label}, log scale" if y.log else label
  return axes(x, y, "" if small else "epoch", label, count=4 if small else 5)


class _Epochs(Scale):
  """A scale with ticks at whole numbers only."""

  def ticks(self, count: int = 5) -> list[float]:
    step = max(1, math.ceil((self.high - self.low) / max(count, 1)))
    step = next((s for s in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500) if s >= step), step)
    return [float(v) for v in range(step, math.floor(self.high) + 1, step)]


def _y_scale(found: dict[str, Curve], quantity: str, bottom: float, top: float) -> Scale:
  """Use a logarithm for losses that fall by more than a factor of thirty and stay positive."""
  values = np.concatenate([np.r_[c.low, c.high] for c in found.values()] or [np.ones(1)])
  values = values[np.isfinite(values)]
  log = quantity == "loss" and values.size and values.min() > 0
  log = bool(log and values.max() / values.min() > 30)
  return spanning(values.tolist(), bottom, top, log=log)


def _draw(data: ReportData, name: str, one: Curve, x: Scale, y: Scale) -> Markup:
  at = lambda values: [(x.at(float(e)), y.at(float(v))) for e, v in zip(one.epochs, values)]
  upper, lower = at(one.high), at(one.low)
  edge = [point for point in upper + lower[::-1] if all(map(math.isfinite, point))]
  parts = [path(edge, "range", closed=True), path(at(one.mean), "curve")]
  points = [point for point in at(one.mean) if math.isfinite(point[1])]
  if points:
    parts.append(
      marker(data.marks[name], *points[-1], 3.6, f"{data.label(name)}: {number(_last(one.mean))}")
    )
  return tag("g", *parts, class_=f"hue-{data.marks[name].hue}")


def _last(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite[-1]) if finite.size else math.nan
