"""The jobs of a cluster that a plan stands for: what one process works through on one device.

A job is a unit, but of a search all batches of one method on one seed: which trials come next
depends on those before, and on nothing else, so one process goes through them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxmu.settings.choices import SEARCH
from jaxmu.store.groups import without_round
from jaxmu.studies.makespan import Job
from jaxmu.studies.matrix import ANCHORS, Part
from jaxmu.studies.plan import TO_DO, Plan, PlannedUnit
from jaxmu.studies.search.search_stages import AGAIN

ASSUMED_FLOPS = 20e12  # FLOP/s of one accelerator of which nothing is known


class Speed(NamedTuple):
  """How quick one accelerator is with a study, FLOP/s, and whether finished units say so."""

  flops: float
  measured: bool


def speeds(plans: Sequence[Plan]) -> list[Speed]:
  """Return the speed of each study: its own, else that of its network in others, else assumed."""
  networks: dict[str, list[float]] = {}
  for plan in plans:
    if plan.device_flops is not None:
      networks.setdefault(plan.network, []).append(plan.device_flops)
  found = []
  for plan in plans:
    known = networks.get(plan.network, [])
    if plan.device_flops is not None:
      found.append(Speed(plan.device_flops, True))
    else:
      mean = sum(known) / len(known) if known else ASSUMED_FLOPS
      found.append(Speed(mean, bool(known)))
  return found


def of_plan(plan: Plan, speed: Speed, within: str = "") -> list[Job]:
  """Return the jobs that are left of a study.

  Args:
    within: what keys begin with, so that those of several studies differ.
  """
  left = [unit for unit in plan.units if unit.state == TO_DO]
  jobs = _of_search(left, speed) if plan.study == SEARCH else [_job(u, speed) for u in left]
  return [
    job._replace(key=within + job.key, needs=tuple(within + need for need in job.needs))
    for job in jobs
  ]


def of_matrix(parts: Sequence[tuple[Part, Plan]], every: Sequence[Speed]) -> list[Job]:
  """Return the jobs that are left of several studies.

  A study waits, method by method, for the search that gives it its hyper-parameters, and takes over
  the originals and retrained models that the search has trained.

  Args:
    every: the speed of each.
  """
  found: list[Job] = []
  known = {part.key: plan for part, plan in parts}
  for (part, plan), speed in zip(parts, every):
    own = of_plan(plan, speed, f"{part.key}:")
    before = f"{part.cell}/{part.after}" if part.after else ""
    if before in known:
      own = _without_shared(own, part, plan, known[before]) if part.after == SEARCH else own
      last = _last_of_methods(found, f"{before}:")
      own = [job._replace(needs=(*job.needs, *last.get(_method(job.key), ()))) for job in own]
    found += own
  return found


def _job(unit: PlannedUnit, speed: Speed) -> Job:
  return Job(unit.key, _seconds(unit, speed), unit.needs)


def _seconds(unit: PlannedUnit, speed: Speed) -> float:
  return unit.pflop * 1e15 / speed.flops


def _of_search(units: Sequence[PlannedUnit], speed: Speed) -> list[Job]:
  """Join the batches of each method and place; what compares places comes after all of them."""
  anchors = [unit for unit in units if unit.stage in ANCHORS]
  trained: dict[str, list[str]] = {}
  for unit in anchors:
    for place in dict.fromkeys(map(_place, unit.members)):
      trained.setdefault(place, []).append(unit.key)
  batches = [unit for unit in units if _is_batch(unit.stage)]
  seconds: dict[tuple[str, str], float] = {}  # by method and place
  for unit in batches:
    for at in unit.members:
      chain = _method(unit.key), _place(at)
      seconds[chain] = seconds.get(chain, 0.0) + _seconds(unit, speed) / len(unit.members)
  chains = [
    Job(f"{method}/{place}", each, tuple(trained.get(place, ())))
    for (method, place), each in seconds.items()
  ]
  again = [unit for unit in units if unit.stage.endswith(f".{AGAIN}")]
  checks = [unit for unit in units if _is_check(unit.stage)]
  candidates = [_after(_job(unit, speed), chains) for unit in again]
  return [
    *(_job(unit, speed) for unit in anchors),
    *chains,
    *candidates,
    *(_after(_job(unit, speed), [*chains, *candidates]) for unit in checks),
  ]


def _is_batch(stage: str) -> bool:
  """Tell whether a stage of a search is a batch of trials, or their first or later epochs."""
  return stage.partition(".")[2].partition(".")[0].isdigit()


def _is_check(stage: str) -> bool:
  """Tell whether a stage of a search runs what was chosen on fresh seeds."""
  what = stage.partition(".")[2]
  return bool(what) and what != AGAIN and not _is_batch(stage)


def _after(job: Job, others: Sequence[Job]) -> Job:
  """Let a job wait for all others of its method."""
  same = tuple(other.key for other in others if _method(other.key) == _method(job.key))
  return job._replace(needs=(*job.needs, *same))


def _last_of_methods(jobs: Sequence[Job], within: str) -> Mapping[str, tuple[str, ...]]:
  """Return the jobs of a search after which it knows what is best, by method."""
  found: dict[str, tuple[str, ...]] = {}
  for job in jobs:
    if job.key.startswith(within):
      method = _method(job.key)
      found[method] = (*found.get(method, ()), job.key)
  return {method: keys for method, keys in found.items() if method not in ANCHORS}


def _without_shared(own: Sequence[Job], part: Part, plan: Plan, search: Plan) -> list[Job]:
  """Leave out of the anchors of a study the members that its search trains."""
  places = {
    stage: {_place(at) for unit in search.units if unit.stage == stage for at in unit.members}
    for stage in ANCHORS
  }
  share: dict[str, float] = {}
  for unit in plan.units:
    shared = places.get(unit.stage, set())
    left = sum(_place(at) not in shared for at in unit.members)
    share[f"{part.key}:{unit.key}"] = left / len(unit.members)
  found = [job._replace(seconds=job.seconds * share[job.key]) for job in own]
  return [job for job in found if share[job.key]]


def _place(at: Mapping[str, int]) -> str:
  """Write the first coordinate of a member: the seed, or the split of shadow models."""
  name, number = next(iter(at.items()))
  return f"{name} {number}"


def _method(key: str) -> str:
  """Return the method of a job's key."""
  stage = key.rpartition(":")[2].partition("/")[0]
  return without_round(stage.partition(".")[0])
