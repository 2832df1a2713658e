"""Tasks of a search and of what comes after it leave what one process leaves, number for number."""

import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import sweeps

from jaxmu.command import cli, config_file
from jaxmu.errors import NeedMissing, SettingsError, StoreError
from jaxmu.launch.order import versions
from jaxmu.stopping import Stop
from jaxmu.store import Run, files, submissions
from jaxmu.store.record import Record
from jaxmu.store.submissions import Item, Submission, Task
from jaxmu.studies import matrix, submitted, tasks

CELL = """
import runpy
import shutil

import ml_collections


def one(study):
  config = runpy.run_path(BASE)["get_config"]()
  config.update(name=study, study=study, dataset="synthetic", seeds=(0, 1))
  config.data.forget_fraction = 0.1
  config.model.width = 4
  config.methods = ("ft", "ga")
  config.training.num_epochs = 3
  config.unlearning = {}
  config.evaluation.bootstrap = 50
  config.search = {"trials": 4, "batch": 2, "robust": 0}
  config.tuned = ""
  config.cluster = {"gpus": 0, "pack_minutes": 0}
  return config


def get_config():
  config = ml_collections.ConfigDict({"name": "cell", "output_dir": "", "rule": "reference"})
  config.cells = {"only": {"benchmark": one("benchmark"), "search": one("search")}}
  return config
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("configs") / "cell.py"
  path.write_text(f"BASE = {str(sweeps.ROOT / 'configs' / 'search_digits.py')!r}\n" + CELL)
  return path


def submission(file, folder):
  config = config_file.load_config(str(file), [("output_dir", str(folder))])
  parts = matrix.parts(config)
  jobs = tuple(tasks.of_matrix(parts, matrix.by_key(parts)))
  path = submissions.write(
    matrix.folder(config), Submission(config.to_dict(), jobs, versions(), str(folder))
  )
  return submissions.read(path)


def runs(folder):
  return {path.name.partition("-")[0]: Run.open(path) for path in Path(folder).glob("*-*")}


@pytest.fixture(scope="module")
def whole(file, tmp_path_factory):
  """What one process leaves."""
  folder = tmp_path_factory.mktemp("whole")
  script = runpy.run_path(str(sweeps.ROOT / "bin" / "benchmark.py"), run_name="benchmark")
  words = [f"--config={file}", f"--config.output_dir={folder}"]
  assert cli.run(script["main"], script["flags"](), words) == 0
  return runs(folder)


def test_tasks_leave_what_one_process_leaves(file, whole, tmp_path):
  made = submission(file, tmp_path)
  names = [job.name.rpartition("/")[2] for job in made.jobs]
  assert names == ["anchors", "trials", "anchors", "methods", "report"]
  trials = made.jobs[1]
  assert len(trials.tasks) == 4  # two methods on two seeds
  said = []
  for job in made.jobs:
    # Whoever comes first: the order among tasks of a job is the engine's.
    for task in reversed(job.tasks):
      submitted.work(made, task, Stop(), said.append)
  found = runs(tmp_path)
  assert found.keys() == whole.keys() == {"search", "benchmark"}
  for name, run in found.items():
    assert run.path.name == whole[name].path.name  # also with what the search chose
  rows = found["benchmark"].path / "rows.parquet"
  assert rows.read_bytes() == (whole["benchmark"].path / "rows.parquet").read_bytes()
  for method in ("ft", "ga"):
    results = [each["search"].record(dict, f"tuned-{method}.json") for each in (found, whole)]
    chosen = [result["hyperparameters"] for result in results]
    assert chosen[0] == chosen[1]
  one, other = (Record(each["search"].path) for each in (found, whole))
  assert list(one.expected) == list(other.expected)
  for stage in one.expected:
    assert one.rows(stage) == other.rows(stage)
  again = submission(file, tmp_path)
  assert not again.jobs
  for lost in ("report.html", "rows.parquet"):  # as where a kill came before the last of them
    (found["benchmark"].path / lost).unlink()
    again = submission(file, tmp_path)
    assert [job.name for job in again.jobs] == ["only/benchmark/report"]
    submitted.work(again, again.jobs[0].tasks[0], Stop(), said.append)
    assert (found["benchmark"].path / lost).is_file() and not submission(file, tmp_path).jobs


@pytest.fixture
def prepared(tmp_path):
  """A submission of a benchmark with a list to forget, whose run directory is made."""
  listed = tmp_path / "forget.csv"
  listed.write_text("\n".join(map(str, range(40))))
  words = ("--config.cluster.gpus=0", f"--config.data.forget={listed}")
  settings = sweeps.settings(*sweeps.arguments(tmp_path / "runs", *words, methods="ft"))
  jobs = tuple(tasks.of_study(settings))
  made = Submission(settings.to_dict(), jobs, versions(), str(tmp_path))
  work = lambda *items: submitted.work(made, Task(items), Stop(), print)
  work(Item(submissions.PREPARE))
  run = sweeps.only_run(tmp_path / "runs")
  return listed, run, lambda: work(Item(submissions.MEMBERS, "", "original", ({"seed": 0},)))


def test_a_run_of_another_platform_is_refused(prepared):
  _, run, work = prepared
  manifest = Run.open(run).manifest
  other = replace(manifest, device=replace(manifest.device, platform="gpu", kind="H200"))
  files.write_sealed(run / "manifest.json", other)
  with pytest.raises(SettingsError, match=r"was made on gpu \(H200\), and this is cpu") as caught:
    work()
  assert caught.value.exit_code == 2 and not list(run.glob("stages/*/*"))


def test_data_and_lists_that_changed_since_are_refused(prepared):
  listed, run, work = prepared
  listed.write_text("\n".join(map(str, range(41))))
  with pytest.raises(SettingsError, match="forget_sha256"):
    work()
  listed.write_text("\n".join(map(str, range(40))))
  manifest = Run.open(run).manifest
  other = replace(manifest, dataset=replace(manifest.dataset, sha256="0" * 64))
  files.write_sealed(run / "manifest.json", other)
  with pytest.raises(StoreError, match="was made with another dataset"):
    work()
  assert not list(run.glob("stages/*/*"))


def test_a_search_whose_tables_are_missing_is_followed_all_the_same(file, whole, tmp_path):
  """As where the task that writes them was killed: all its models are there, its choice is not."""
  for run in whole.values():
    shutil.copytree(run.path, tmp_path / run.path.name)
  (search,) = tmp_path.glob("search-*")
  for path in (*search.glob("tuned-*.json"), search / "results.json"):
    path.unlink()
  shutil.rmtree(next(tmp_path.glob("benchmark-*")))
  made = submission(file, tmp_path)
  first = made.jobs[0].tasks[0].items
  assert [(item.do, item.part) for item in first[:2]] == [
    (submissions.TABLES, "only/search"),
    (submissions.PREPARE, "only/benchmark"),
  ]
  for job in made.jobs:
    for task in job.tasks:
      submitted.work(made, task, Stop(), print)
  rows = runs(tmp_path)["benchmark"].path / "rows.parquet"
  assert rows.read_bytes() == (whole["benchmark"].path / "rows.parquet").read_bytes()


def test_what_needs_others_does_not_train_them(file, tmp_path, monkeypatch):
  monkeypatch.setattr("jaxmu.studies.waiting.PATIENCE", 0.1)
  made = submission(file, tmp_path)
  _, trials, first, *_ = made.jobs
  work = lambda task: submitted.work(made, task, Stop(), print)
  for task in (trials.tasks[0], first.tasks[0]):
    with pytest.raises(NeedMissing) as caught:
      work(task)
    assert caught.value.exit_code == 69 and "\n" not in str(caught.value)
  assert not list(tmp_path.glob("*/stages/*"))
