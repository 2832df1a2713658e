"""How long jobs take on several devices: analytic cases, and what any schedule has to keep to."""

import random

import pytest

from jaxmu.studies.makespan import Job, makespan, schedule


def equal(count, seconds=60.0):
  return [Job(f"job {k}", seconds) for k in range(count)]


def chain(name, count, seconds=60.0):
  return [Job(f"{name}{k}", seconds, (f"{name}{k - 1}",) if k else ()) for k in range(count)]


@pytest.mark.parametrize(
  ("count", "devices", "rounds"), [(0, 3, 0), (1, 3, 1), (12, 1, 12), (12, 4, 3), (13, 4, 4)]
)
def test_equal_jobs_go_in_rounds(count, devices, rounds):
  assert makespan(equal(count), devices) == 60 * rounds
  assert makespan(equal(count), devices, start=30) == 90 * rounds


def test_a_chain_takes_its_length_on_any_number_of_devices():
  for devices in (1, 2, 64):
    assert makespan(chain("a", 5), devices) == 300
  assert makespan([*chain("a", 5), *chain("b", 5)], 2, start=10) == 350
  assert makespan([*chain("a", 5), *chain("b", 5), *chain("c", 5)], 2) == 480  # 8 rounds of 2


def test_one_long_job_begins_first():
  assert makespan([*equal(10, 1.0), Job("long", 10.0)], 2) == 10
  assert makespan([*equal(4, 1.0), Job("long", 100.0)], 64) == 100


def test_the_head_of_a_long_chain_begins_before_longer_jobs():
  jobs = [*equal(2, 50.0), Job("head", 1.0), Job("tail", 99.0, ("head",))]
  assert makespan(jobs, 2) == 100


def test_what_others_wait_for_comes_first_and_what_waits_for_nothing_fills_the_gap():
  jobs = [Job("a", 10), Job("b", 10, ("a",)), Job("c", 10, ("a",)), Job("alone", 10)]
  assert makespan(jobs, 2) == 20


def test_needs_of_jobs_that_are_not_there_have_ended():
  assert makespan([Job("a", 10, ("done before",)), Job("b", 10, ("a", "a"))], 2) == 20


def test_jobs_in_a_circle_are_an_error():
  jobs = [Job("a", 1.0, ("b",)), Job("b", 1.0, ("a",)), Job("c", 1.0)]
  with pytest.raises(ValueError, match="jobs need each other in a circle"):
    makespan(jobs, 2)


def test_efficiency_is_work_without_starting_and_waiting():
  assert schedule(equal(60), 1) == (1, 1.0, 1.0)
  assert schedule(equal(60), 1, start=20) == (1, pytest.approx(80 / 60), 0.75)
  found = schedule([Job("long", 3600.0), *equal(30)], 2)
  assert found.hours == 1 and found.efficiency == pytest.approx(0.75)
  assert schedule([], 8) == (8, 0.0, 1.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_keeps_to_its_bounds(seed):
  """No less than the work shared evenly and the longest way; no more than both together."""
  draw = random.Random(seed)
  jobs = []
  for k in range(200):
    earlier = draw.sample(range(k), min(k, draw.choice((0, 0, 1, 3))))
    jobs.append(Job(str(k), draw.uniform(1, 100), tuple(map(str, earlier))))
  ways = {}
  for job in jobs:
    ways[job.key] = job.seconds + max((ways[need] for need in job.needs), default=0)
  work, longest = sum(job.seconds for job in jobs), max(ways.values())
  assert makespan(jobs, 1) == pytest.approx(work)
  assert makespan(jobs, 200) == pytest.approx(longest)
  for devices in (2, 5, 16):
    found = makespan(jobs, devices)
    assert max(work / devices, longest) - 1e-6 <= found <= work / devices + longest + 1e-6
