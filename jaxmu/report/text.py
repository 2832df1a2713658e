"""Numbers as text."""

import math
from collections.abc import Iterable

from jaxmu.report.summary import Cell

MISSING = "–"


def number(value: float, digits: int = 3) -> str:
  """Write a value with fixed decimals, large and tiny ones in scientific notation."""
  if not math.isfinite(value):
    return MISSING if math.isnan(value) else ("∞" if value > 0 else "−∞")
  if value and (abs(value) >= 1e5 or abs(value) < 0.5 * 10**-digits):
    return f"{value:.2g}".replace("-", "−")
  return f"{value:.{digits}f}".replace("-", "−")


def factor(value: float) -> str:
  """Write a speed-up with three significant digits: 0.42, 8.70, 44.4, 390."""
  if not math.isfinite(value) or value <= 0:
    return number(value)
  return number(value, max(0, 2 - math.floor(math.log10(value))) if value < 1000 else 0)


def spread(cell: Cell, digits: int = 3, write=number) -> str:
  """Write mean ± SD, or the one value where there is no spread to speak of."""
  if cell.n == 0:
    return MISSING
  mean = write(cell.mean, digits) if write is number else write(cell.mean)
  if cell.n < 2 or not math.isfinite(cell.sd):
    return mean
  return f"{mean} ± {number(cell.sd, digits)}"


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
  return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(count: int, noun: str) -> str:
  """Write a count and its noun: 1 seed, 3 seeds."""
  return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
