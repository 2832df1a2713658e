"""How long jobs take on so many devices: a list schedule, those on the longest path first."""

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Job(NamedTuple):
  """What one process works through on one device.

  Attributes:
    seconds: without starting up.
    needs: keys of the jobs that must have ended before; those of jobs that are not there have.
  """

  key: str
  seconds: float
  needs: tuple[str, ...] = ()


class Schedule(NamedTuple):
  """What a number of devices makes of some jobs.

  Attributes:
    hours: from the first start to the last end.
    efficiency: the share of all devices' time that is work: no start-up, no waiting.
  """

  devices: int
  hours: float
  efficiency: float


def schedule(jobs: Sequence[Job], devices: int, start: float = 0.0) -> Schedule:
  """Return how long jobs take on so many devices.

  Args:
    start: seconds that a device needs to begin a job.
  """
  seconds = makespan(jobs, devices, start)
  work = sum(job.seconds for job in jobs)
  return Schedule(devices, seconds / 3600, work / (devices * seconds) if seconds else 1.0)


def makespan(jobs: Sequence[Job], devices: int, start: float = 0.0) -> float:
  """Return the seconds until all jobs have ended.

  Whenever a device is free, it begins the job from which the longest way leads to the end, of those
  whose needs have ended. That is at most 2 - 1 / devices times the best there is (Graham 1969).

  Raises:
    ValueError: jobs need each other in a circle.
  """
  number = {job.key: k for k, job in enumerate(jobs)}
  needs = [{number[key] for key in job.needs if key in number} for job in jobs]
  after: dict[int, list[int]] = {}
  for k, needed in enumerate(needs):
    for each in needed:
      after.setdefault(each, []).append(k)
  took = [start + job.seconds for job in jobs]
  ahead = _ahead(took, needs, after)
  missing = [len(needed) for needed in needs]
  ready = [(-ahead[k], k) for k, count in enumerate(missing) if not count]
  heapq.heapify(ready)
  running: list[tuple[float, int]] = []
  now = 0.0
  while ready or running:
    while ready and len(running) < devices:
      _, k = heapq.heappop(ready)
      heapq.heappush(running, (now + took[k], k))
    now = running[0][0]
    while running and running[0][0] == now:
      _, ended = heapq.heappop(running)
      for k in after.get(ended, ()):
        missing[k] -= 1
        if not missing[k]:
          heapq.heappush(ready, (-ahead[k], k))
  return now


def _ahead(
  took: Sequence[float], needs: Sequence[set[int]], after: Mapping[int, Sequence[int]]
) -> list[float]:
  """Return how long the longest way is from the beginning of each job to the end of all."""
  left = [len(after.get(k, ())) for k in range(len(took))]
  found, known = list(took), [k for k, count in enumerate(left) if not count]
  for k in known:  # which grows
    for each in needs[k]:
      found[each] = max(found[each], took[each] + found[k])
      left[each] -= 1
      if not left[each]:
        known.append(each)
  if len(known) < len(took):
    raise ValueError("jobs need each other in a circle")
  return found
