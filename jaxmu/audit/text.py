"""Numbers as text."""

import math
from collections.abc import Iterable

from jaxmu.audit.results import Cell

MISSING = "–"


def number(value: float, digits: int = 3) -> str:
  """Write a value with fixed decimals; large ones in scientific notation."""
  if math.isnan(value):
    return MISSING
  if math.isinf(value):
    return "∞" if value > 0 else "−∞"
  text = f"{value:.2g}" if abs(value) >= 1e5 else f"{value:.{digits}f}"
  return text.replace("-", "−") if float(text) else text.lstrip("-")


def factor(value: float) -> str:
  """Write a speed-up with three significant digits: 0.42, 8.70, 44.4, 390."""
  if not math.isfinite(value) or value <= 0:
    return number(value)
  return number(value, max(0, 2 - math.floor(math.log10(value))))


def spread(cell: Cell, digits: int = 3) -> str:
  """Write mean ± SD, or the one value where there is no spread to speak of."""
  if cell.n == 0:
    return MISSING
  mean = number(cell.mean, digits)
  return f"{mean} ± {number(cell.sd, digits)}" if math.isfinite(cell.sd) else mean


def speed(cell: Cell) -> str:
  """Write a mean speed-up; its SD only where members differ in work."""
  if cell.n == 0 or not cell.sd > 1e-9 * abs(cell.mean):
    return factor(cell.mean)
  return f"{factor(cell.mean)} ± {factor(cell.sd)}"


def interval(cell: Cell, digits: int = 3) -> str:
  """Write the bootstrap interval as [low, high]; empty where there is none."""
  if not cell.has_interval:
    return ""
  return f"[{number(cell.low, digits)}, {number(cell.high, digits)}]"


def value(cell: Cell, digits: int = 3) -> str:
  """Write the mean and its interval, as running text has it."""
  return f"{number(cell.mean, digits)} {interval(cell, digits)}".strip()


def listing(names: Iterable[str]) -> str:
  """Join names as a sentence does: A, B and C."""
  names = list(names)
  return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def plural(count: int, noun: str) -> str:
  """Write a count and its noun: 1 seed, 3 seeds."""
  return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
  """Write a time in the unit that suits it: 12.3 s, 4.5 min, 2.31 h."""
  if not math.isfinite(seconds):
    return MISSING
  if seconds < 100:
    return f"{number(seconds, 1)} s"
  return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:,.2f} h"


def amount(value: float) -> str:
  """Write a large count with three digits: 812, 27.8 k, 1.25 M."""
  if not math.isfinite(value):
    return MISSING
  for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
    if value >= size:
      return f"{factor(value / size)} {unit}"
  return f"{value:.0f}"
