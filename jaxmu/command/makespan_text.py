"""How long a plan takes on numbers of accelerators, as a table for a terminal, and as JSON."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxmu.command.makespan_flags import Asked
from jaxmu.quantities import duration
from jaxmu.studies.jobs import Speed
from jaxmu.studies.makespan import Job, Schedule, schedule


class Estimate(NamedTuple):
  """Schedules of some jobs, and what they assume."""

  jobs: Sequence[Job]
  speeds: Sequence[Speed]
  start: float
  schedules: Sequence[Schedule]

  @property
  def gpu_hours(self) -> float:
    """Of all jobs, without starting up."""
    return sum(job.seconds for job in self.jobs) / 3600


def estimate(jobs: Sequence[Job], speeds: Sequence[Speed], asked: Asked) -> Estimate:
  """Schedule jobs on the numbers of accelerators that were asked for."""
  found = [schedule(jobs, number, asked.start) for number in asked.gpus]
  return Estimate(jobs, speeds, asked.start, found)


def render(found: Estimate) -> str:
  """Return a line for each number of accelerators, and what was assumed."""
  lines = [
    f"{'GPUs':>6}{'hours':>10}{'efficiency':>12}",
    *(f"{one.devices:>6}{one.hours:>10.1f}{one.efficiency:>12.0%}" for one in found.schedules),
    f"{len(found.jobs):,} jobs of {_lengths(found.jobs)}, {found.gpu_hours:,.1f} GPU-hours; "
    f"{found.start:g} s to start each",
    f"speed of a GPU: {_speed(found.speeds)}",
  ]
  return "\n".join(lines)


def as_json(found: Estimate) -> dict[str, Any]:
  """Return the same as JSON-ready values."""
  return {
    "schedules": [each._asdict() for each in found.schedules],
    "jobs": len(found.jobs),
    "gpu_hours": found.gpu_hours,
    "start_seconds": found.start,
    "speeds": [each._asdict() for each in found.speeds],
  }


def _lengths(jobs: Sequence[Job]) -> str:
  seconds = [job.seconds for job in jobs] or [0.0]
  shortest, middle, longest = min(seconds), statistics.median(seconds), max(seconds)
  return f"{duration(shortest)} to {duration(longest)} (half of them below {duration(middle)})"


def _speed(speeds: Sequence[Speed]) -> str:
  """Say where the speeds come from."""
  measured = [each for each in speeds if each.measured]
  assumed = [each for each in speeds if not each.measured]
  parts = []
  if measured:
    parts.append(f"{_tera(measured)} TFLOP/s, as finished units reached")
  if assumed:
    of = f" for {len(assumed)} of {len(speeds)} studies" if measured else ""
    parts.append(f"{_tera(assumed)} TFLOP/s assumed{of}, of which no unit is finished on one")
  return "; ".join(parts)


def _tera(speeds: Sequence[Speed]) -> str:
  flops = [each.flops / 1e12 for each in speeds]
  return " to ".join(dict.fromkeys(f"{value:.3g}" for value in (min(flops), max(flops))))
