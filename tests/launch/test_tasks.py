"""Studies cut into tasks: every missing model in exactly one, after those that it starts from."""

from collections import Counter

import pytest
from support import stub_task, studies, sweeps

from jaxmu.command import config_file
from jaxmu.store import submissions
from jaxmu.store.record import Record
from jaxmu.store.submissions import BRANCH, MEMBERS, PREPARE, REPORT, TABLES
from jaxmu.studies import costs, matrix, plan, tasks
from jaxmu.studies.plan import TO_DO
from jaxmu.studies.study import Branch


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch):
  """Networks cost what they may."""
  monkeypatch.setattr(costs.Costs, "_network", property(lambda self: (10**9, 10**7)))


def of(*words):
  return tasks.of_study(sweeps.settings(*words))


def cut(folder, *words, **cluster):
  asked = {"gpus": 0, "pack_minutes": 0} | cluster
  given = [f"--config.cluster.{name}={value}" for name, value in asked.items()]
  return of(*sweeps.arguments(folder, *given, *words))


def items(jobs, do):
  return [item for job in jobs for task in job.tasks for item in task.items if item.do == do]


def members(jobs):
  return Counter(
    (item.stage, *sorted(at.items())) for item in items(jobs, MEMBERS) for at in item.members
  )


def test_every_member_is_in_one_task_after_its_needs(tmp_path):
  jobs = cut(tmp_path, "--config.population.members_at_once=1", "--config.seeds=0..2")
  assert [job.name for job in jobs] == [
    f"cnn_digits/{name}" for name in ("prepare", "anchors", "methods", "report")
  ]
  assert [job.after for job in jobs[1:]] == [(job.name,) for job in jobs[:-1]]
  wanted = {
    (stage, ("seed", seed)) for stage in ("original", "retrained", "ft", "msg") for seed in range(3)
  }
  assert members(jobs) == dict.fromkeys(wanted, 1)
  assert [len(job.tasks) for job in jobs] == [1, 6, 6, 1]
  stages = [{item.stage for task in job.tasks for item in task.items} for job in jobs]
  assert stages[1:3] == [{"original", "retrained"}, {"ft", "msg"}]
  assert sum(task.models for job in jobs for task in job.tasks) == 12


def test_short_units_are_packed(tmp_path):
  alone = cut(tmp_path, pack_minutes=0)
  packed = cut(tmp_path, pack_minutes=600)
  assert [len(job.tasks) for job in alone] == [2, 2, 1]  # a few tasks make the directory themselves
  assert [len(job.tasks) for job in packed] == [1, 1, 1]
  assert [item.do for item in packed[0].tasks[0].items] == [PREPARE, MEMBERS, MEMBERS]
  assert members(alone) == members(packed)
  seconds = lambda jobs: sum(task.seconds for job in jobs for task in job.tasks)
  assert seconds(alone) == pytest.approx(seconds(packed)) and seconds(alone) > 0


def test_rounds_are_jobs_one_after_another(tmp_path):
  words = ("--config.scenario.rounds=2", "--config.data.forget_fraction=0.3")
  jobs = cut(tmp_path, *words, pack_minutes=600)
  assert [job.name.rpartition("/")[2] for job in jobs] == [
    "anchors",
    "methods",
    "methods2",
    "report",
  ]
  told = [{item.stage for item in items([job], MEMBERS)} for job in jobs]
  assert told[1:3] == [{"ft@1", "msg@1"}, {"ft@2", "msg@2"}]


def test_a_search_is_cut_by_method_and_seed_unless_seeds_are_compared(tmp_path):
  words = ("--config.study=search", "--config.search.trials=4", "--config.search.batch=2")
  apart = ("--config.search.robust=0", "--config.search.check_seeds=")
  jobs = cut(tmp_path, *words, *apart)
  trials = next(job for job in jobs if job.name.endswith("/trials"))
  assert [(task.items[0].method, task.items[0].places) for task in trials.tasks] == [
    (method, (seed,)) for method in ("ft", "msg") for seed in (0, 1)
  ]
  assert [task.models for task in trials.tasks] == [4] * 4
  assert len({task.key for task in trials.tasks}) == 4
  jobs = cut(tmp_path, *words, "--config.search.robust=2", "--config.search.check_seeds=5")
  trials = next(job for job in jobs if job.name.endswith("/trials"))
  assert [(task.items[0].method, task.items[0].places) for task in trials.tasks] == [
    ("ft", ()),
    ("msg", ()),
  ]
  settings = sweeps.settings(
    *sweeps.arguments(tmp_path, *words, "--config.search.robust=2", "--config.search.check_seeds=5")
  )
  planned = [unit for unit in plan.plan(settings).units if "." in unit.stage]
  assert sum(task.models for task in trials.tasks) == sum(len(unit.members) for unit in planned)


def test_a_branch_is_finished_with_its_last_stage_and_all_before(tmp_path, monkeypatch):
  words = ("--config.study=search", "--config.search.trials=2", "--config.search.batch=2")
  words += ("--config.search.robust=0", "--config.search.check_seeds=5", "--config.cluster.gpus=0")
  settings = sweeps.settings(*sweeps.arguments(tmp_path, *words))
  stub_task.prepare(settings)
  absent = []
  same = {"finite": True, "RA": 1.0, "FA": 1.0, "VA": 1.0, "V_MIA": 0.5}
  monkeypatch.setattr(Record, "missing", lambda self, name: [0] if name in absent else [])
  rows = lambda self, name: [{**member.at, **same} for member in self.expected[name]]
  monkeypatch.setattr(Record, "rows", rows)
  finished = lambda method: tasks._finished(settings, Branch(method))
  assert finished("ft") and finished("msg")
  for stage in ("ft.1", "ft.given", "ft.reference", "retrained"):
    absent[:] = [stage]
    assert not finished("ft"), stage
    assert finished("msg") == (stage != "retrained")


def test_shadow_models_are_cut_in_units(tmp_path):
  words = studies.arguments(tmp_path, "--config.cluster.pack_minutes=0")
  settings = studies.settings(*words)
  jobs = tasks.of_study(settings)
  units = [unit for unit in plan.plan(settings).units if unit.state == TO_DO]
  assert sum(len(unit.members) for unit in units) == sum(members(jobs).values())
  assert max(members(jobs).values()) == 1


def whole(words=()):
  config = config_file.load_config(f"{sweeps.ROOT}/configs/matrix.py", words)
  return config, matrix.parts(config)


def test_the_whole_benchmark_is_few_arrays_of_at_most_a_thousand(tmp_path):
  config, parts = whole([("output_dir", str(tmp_path))])
  jobs = tasks.of_matrix(parts, matrix.by_key(parts))
  assert len(jobs) <= 60 and max(len(job.tasks) for job in jobs) <= 1000
  branches = Counter(item.part for item in items(jobs, BRANCH))
  assert branches == {
    **{f"{cell}/search": 54 for cell in config.cells if cell != "ulira"},
    "ulira/ulira_search": 192,
  }
  # 99,520 models of the protocol, and those that searches share with the study after them: ten
  # cells have 3 seeds, the search among shadow models trains its own.
  assert sum(task.models for job in jobs for task in job.tasks) == 99_520 + 10 * 6 + 64
  alone = [job for job in jobs if job.name.startswith("mnist_tinyvit/benchmark/")]
  assert set(members(alone).values()) == {1}
  known = {job.name for job in jobs}
  place = {job.name: k for k, job in enumerate(jobs)}
  for job in jobs:
    assert all(name in known and place[name] < place[job.name] for name in job.after)
  benchmark = next(job for job in jobs if job.name == "mnist_tinyvit/benchmark/anchors")
  first = benchmark.tasks[0].items[:2]
  assert [(item.do, item.part) for item in first] == [
    (TABLES, "mnist_tinyvit/search"),
    (PREPARE, "mnist_tinyvit/benchmark"),
  ]
  assert benchmark.after == ("mnist_tinyvit/search/trials",)
  (last,) = [job for job in jobs if job.name == "report"]
  assert items([last], REPORT) and len(last.after) == 10


def test_a_submission_is_read_as_it_was_written_and_never_changed(tmp_path):
  jobs = tuple(cut(tmp_path))
  made = submissions.Submission({"a": (1, 2)}, jobs, {"jax": "1"}, "/somewhere")
  path = submissions.write(tmp_path / "run", made)
  found = submissions.read(path)
  assert found.jobs == jobs and found.config == {"a": [1, 2]} and found.versions == {"jax": "1"}
  assert [t.key for j in found.jobs for t in j.tasks] == [t.key for j in jobs for t in j.tasks]
  assert submissions.write(tmp_path / "run", made) == path
  path.write_text(path.read_text().replace("/somewhere", "/elsewhere"))
  with pytest.raises(Exception, match=r"damaged .* submit again") as caught:
    submissions.read(path)
  assert "\n" not in str(caught.value)
