"""The plan of a matrix of studies as a table for a terminal, and as JSON."""

from collections.abc import Sequence
from typing import Any

from jaxmu.command import makespan_text
from jaxmu.command.makespan_flags import Asked
from jaxmu.command.makespan_text import Estimate
from jaxmu.quantities import duration
from jaxmu.studies import jobs
from jaxmu.studies.matrix import Part, line_of, total
from jaxmu.studies.plan import Plan

Parts = Sequence[tuple[Part, Plan]]


def render(parts: Parts, asked: Asked) -> str:
  """Return a line per part, how many models there are of which kind, and how long they take."""
  lines = [line_of(*each) for each in parts]
  head = f"{'part':<32}{'models':>8}{'missing':>9}{'PFLOP':>12}{'time left':>12}"
  counts = total(lines)
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
  if asked.gpus:
    told += ["", makespan_text.render(_estimate(parts, asked))]
  return "\n".join(told)


ALONE = "of searches alone"


def as_json(parts: Parts, asked: Asked) -> dict[str, Any]:
  """Return the same as JSON-ready values."""
  lines = [line_of(*each) for each in parts]
  more = {"makespan": makespan_text.as_json(_estimate(parts, asked))} if asked.gpus else {}
  each = [line._asdict() | {"part": line.part.key, "models": line.models} for line in lines]
  return {"parts": each, "models": total(lines)} | more


def _estimate(parts: Parts, asked: Asked) -> Estimate:
  speeds = jobs.speeds([planned for _, planned in parts])
  return makespan_text.estimate(jobs.of_matrix(parts, speeds), speeds, asked)


def _line(name: str, models: int, missing: int, pflop: float, seconds: float) -> str:
  left = duration(seconds) if missing else "done"
  return f"{name:<32}{models:>8}{missing:>9}{pflop:>12.3f}{left:>12}"
