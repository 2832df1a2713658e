"""Figures that several kinds of study have, with their words."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from jaxmu.audit.results import Cell
from jaxmu.audit.text import number, value
from jaxmu.report.charts.plots import Axis, Curve, Roc, Strip

RATES = (0.01, 0.001)  # false-positive rates that figures mark


def strip(
  name: str,
  title: str,
  quantity: str,
  axis: str,
  cells: Mapping[str, tuple[Cell, Cell]],
  label: Callable[[str], str],
  chance: float,
) -> Strip:
  """Make a figure of a number and a second one per method; those without the first are left out.

  The band is the interval of the retrained models.
  """
  cells = {n: pair for n, pair in cells.items() if pair[0].n}
  words = "; ".join(f"{label(n)} {number(first.mean)}" for n, (first, _) in cells.items())
  hints = {n: f"{label(n)}: {quantity} {value(first)}" for n, (first, _) in cells.items()}
  band = cells["retrained"][0] if "retrained" in cells else Cell()
  return Strip(name, title, f"{quantity}: {words}.", Axis(axis), cells, hints, chance, band)


def roc(
  attack: str, curves: Mapping[str, Curve], label: Callable[[str], str], lowest: float
) -> Roc:
  """Make ROC curves with a marker per decade; only what a logarithm can show is kept.

  Args:
    lowest: rates below rest on too few cases to be drawn.
  """
  found = {name: _positive(one) for name, one in curves.items()}
  found = {name: one for name, one in found.items() if len(one.x)}
  low = max(lowest, min((float(one.x[0]) for one in found.values()), default=1e-3))
  low = min(low, 0.1)
  decades = [10.0**k for k in range(math.ceil(math.log10(low) - 1e-9), 0)]
  hints = {
    name: {
      decade: f"{label(name)}: {number(rate, 4)} at {decade:g}"
      for decade in decades
      if (rate := rate_at(one, decade)) >= low
    }
    for name, one in found.items()
  }
  words = "; ".join(f"{label(n)} {number(rate_at(one, RATES[0]))}" for n, one in found.items())
  return Roc(
    "roc",
    f"ROC curves of {attack}, both axes logarithmic",
    f"True-positive rate at a false-positive rate of 1 %: {words}.",
    found,
    hints,
    low,
    RATES,
  )


def rate_at(one: Curve, fpr: float) -> float:
  """Return the true-positive rate at a false-positive rate, NaN outside the curve."""
  if not one.x[0] <= fpr <= one.x[-1]:
    return math.nan
  return float(10 ** np.interp(math.log10(fpr), np.log10(one.x), np.log10(one.y)))


def _positive(one: Curve) -> Curve:
  """Keep the points that a logarithm can show, by rising false-positive rate."""
  kept = (one.x > 0) & (one.x <= 1) & (one.y > 0) & (one.y <= 1)
  x, y, low, high = (values[kept] for values in one[:4])
  order = np.lexsort((y, x))
  return Curve(x[order], y[order], low[order], high[order])
