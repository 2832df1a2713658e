"""The plan of a matrix of studies as a table for a terminal, and as JSON."""

from collections.abc import Sequence
from typing import Any

from jaxmu.quantities import duration
from jaxmu.studies.matrix import Line, total


def render(lines: Sequence[Line]) -> str:
  """Return a line per part, and how many models there are of which kind."""
  head = f"{'part':<32}{'models':>8}{'missing':>9}{'PFLOP':>12}{'time left':>12}"
  counts = total(list(lines))
  counted = sum(value for name, value in counts.items() if name != ALONE)
  words = [f"{name} {value:,}" for name, value in counts.items() if name != ALONE]
  told = [
    head,
    *(_line(line.part.key, line.models, line.missing, line.pflop, line.seconds) for line in lines),
    _line(
      "total",
      sum(line.models for line in lines),
      sum(line.missing for line in lines),
      sum(line.pflop for line in lines),
      sum(line.seconds for line in lines),
    ),
    "",
    f"models of the protocol: {counted} ({', '.join(words)})",
    "Originals and retrained models that a search shares with the study after it are counted once.",
  ]
  if counts[ALONE]:
    told.append(
      f"Besides, the search among shadow models trains {counts[ALONE]:,} originals and retrained "
      "models of its own, which the reference takes from the study."
    )
  return "\n".join(told)


ALONE = "of searches alone"


def as_json(lines: Sequence[Line]) -> dict[str, Any]:
  """Return the same as JSON-ready values."""
  each = [line._asdict() | {"part": line.part.key, "models": line.models} for line in lines]
  return {"parts": each, "models": total(list(lines))}


def _line(name: str, models: int, missing: int, pflop: float, seconds: float) -> str:
  left = duration(seconds) if missing else "done"
  return f"{name:<32}{models:>8}{missing:>9}{pflop:>12.3f}{left:>12}"
