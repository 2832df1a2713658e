"""From plans to jobs: batches of a search are one process's, what compares places comes last."""

import pytest

from jaxmu.studies import jobs
from jaxmu.studies.jobs import Speed
from jaxmu.studies.makespan import makespan
from jaxmu.studies.matrix import Part
from jaxmu.studies.plan import DONE, TO_DO, Plan, PlannedUnit

SPEED = Speed(1e15, True)  # a petaFLOP takes a second


def unit(stage, places, pflop, needs=(), state=TO_DO, **more):
  members = tuple({"seed": place} | more for place in places)
  key = f"{stage}/{'-'.join(map(str, places))}"
  return PlannedUnit(key, stage, members, tuple(needs), 1, pflop, 0, 0.0, state)


def planned(units, study="search", network="cnn", device_flops=None):
  return Plan("x", study, network, (), "x-0", 1.0, device_flops, tuple(units))


def by_key(found):
  assert len({job.key for job in found}) == len(found)
  return {job.key: job for job in found}


def search(methods=("ft", "ga")):
  """Return a search on seeds 0 and 1 in two batches, with candidates and checks."""
  found = [unit("original", (0, 1, 5), 30.0), unit("retrained", (0, 1, 5), 24.0)]
  for batch in (1, 2):
    for method in methods:
      found += [unit(f"{method}.{batch}", (0, 0, 0, 1), 8.0, ["original/0-1-5"])]
      found += [unit(f"{method}.{batch}", (1, 1), 1.0, ["original/0-1-5"])]
  found += [unit(f"{method}.again", (0, 1), 2.0, ["original/0-1-5"]) for method in methods]
  checks = [f"{method}.{what}" for method in methods for what in ("given", "robust")]
  return [*found, *(unit(stage, (5,), 3.0, ["original/0-1-5"]) for stage in checks)]


def test_batches_of_a_method_on_a_seed_are_one_job():
  found = by_key(jobs.of_plan(planned(search()), SPEED))
  assert len(found) == 2 + 2 * (2 + 1 + 2)
  assert found["ft/seed 0"] == ("ft/seed 0", 2 * 6.0, ("original/0-1-5", "retrained/0-1-5"))
  assert found["ft/seed 1"].seconds == pytest.approx(2 * (2.0 + 1.0))
  total = sum(unit.pflop for unit in search())
  assert sum(job.seconds for job in found.values()) == pytest.approx(total)


def test_candidates_wait_for_all_seeds_and_checks_for_the_candidates():
  found = by_key(jobs.of_plan(planned(search()), SPEED))
  assert found["ft.again/0-1"].needs == ("original/0-1-5", "ft/seed 0", "ft/seed 1")
  for what in ("given", "robust"):
    needs = found[f"ft.{what}/5"].needs
    assert needs == ("original/0-1-5", "ft/seed 0", "ft/seed 1", "ft.again/0-1")
  ways = 30 + 12 + 2 + 3  # with enough devices: original, the longer chain, candidates, a check
  assert makespan(list(found.values()), 64) == ways


def test_epochs_between_looks_belong_to_their_batch():
  halves = [unit("original", (0,), 3.0), unit("ft.1", (0, 0), 2.0), unit("ft.1.10", (0,), 5.0)]
  found = by_key(jobs.of_plan(planned(halves), SPEED))
  assert found["ft/seed 0"] == ("ft/seed 0", 7.0, ("original/0",))
  assert set(found) == {"original/0", "ft/seed 0"}


def test_of_what_is_done_nothing_is_left():
  units = [unit("original", (0, 1), 9.0, state=DONE), unit("ft", (0, 1), 4.0)]
  assert jobs.of_plan(planned(units, "benchmark"), SPEED) == [("ft/0-1", 4.0, ())]


def matrix():
  benchmark = [unit("original", (0, 1, 2, 3), 40.0), unit("retrained", (0, 1, 2, 3), 20.0)]
  for method in ("ft", "ga"):
    benchmark.append(unit(method, (0, 1, 2, 3), 6.0, ["original/0-1-2-3"]))
  anchors = [unit("original", (0, 1), 20.0), unit("retrained", (0, 1), 10.0)]
  trials = [unit(f"{method}.1", (0, 1), 12.0) for method in ("ft", "ga")]
  return [
    (Part("cell", "search", {}), planned([*anchors, *trials])),
    (Part("cell", "benchmark", {}, "search"), planned(benchmark, "benchmark")),
  ]


def test_a_benchmark_waits_for_its_search_method_by_method_and_shares_its_anchors():
  found = by_key(jobs.of_matrix(matrix(), [SPEED] * 2))
  assert found["cell/search:original/0-1"].seconds == 20
  assert found["cell/benchmark:original/0-1-2-3"].seconds == 20  # of two seeds that are left
  assert found["cell/benchmark:retrained/0-1-2-3"] == (
    "cell/benchmark:retrained/0-1-2-3",
    10,
    (),
  )
  assert found["cell/benchmark:ft/0-1-2-3"].needs == (
    "cell/benchmark:original/0-1-2-3",
    "cell/search:ft/seed 0",
    "cell/search:ft/seed 1",
  )


def test_anchors_that_a_search_has_all_of_are_no_jobs_and_those_of_another_search_are():
  (search_part, found), (_, study) = matrix()
  few = planned([u for u in found.units if u.stage != "original"] + [study.units[0]])
  parts = [(search_part, few), matrix()[1]]
  assert "cell/benchmark:original/0-1-2-3" not in by_key(jobs.of_matrix(parts, [SPEED] * 2))
  apart = [(Part("cell", "ulira_search", {}), few), (Part("cell", "u", {}, "ulira_search"), study)]
  assert by_key(jobs.of_matrix(apart, [SPEED] * 2))["cell/u:original/0-1-2-3"].seconds == 40


def test_speeds_are_measured_of_the_same_network_or_assumed():
  plans = [planned([], device_flops=1e13), planned([], device_flops=3e13), planned([])]
  plans.append(planned([], network="resnet18"))
  assumed = Speed(jobs.ASSUMED_FLOPS, False)
  assert jobs.speeds(plans) == [(1e13, True), (3e13, True), (2e13, True), assumed]
