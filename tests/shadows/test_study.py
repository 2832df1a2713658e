"""Studies: shadow models are the single models they stand for, grow, resume, and are not mixed."""

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import studies, sweeps

from jaxmu import shadows
from jaxmu.audit.attacks.scores import logit_scaled_confidence
from jaxmu.data.streams import Samples
from jaxmu.errors import StoreError
from jaxmu.execution import predictions, runner
from jaxmu.shadows import models, stage
from jaxmu.shadows.study_context import Lab
from jaxmu.store import Run, checkpoint, inspection
from jaxmu.studies import preparation
from jaxmu.studies.plan import duration
from jaxmu.training import View
from jaxmu.training.task import Arrays
from jaxmu.unlearning import get

STAGES = ("original", "retrained", "ft")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """A finished study: its run, its settings and the folder it lies in."""
  folder = tmp_path_factory.mktemp("study")
  arguments = studies.arguments(folder)
  assert sweeps.call(*arguments) == 0
  return Run.open(sweeps.only_run(folder)), studies.settings(*arguments), folder


def lab_of(run, settings):
  dataset = preparation.load_dataset(settings)
  lowering = tuple(sorted(run.manifest.lowering.items()))
  return Lab(run, settings, dataset, models.draw(settings, dataset.num_train), lowering)


def trained(run):
  """Count the models trained so far, by stage, from the log."""
  counts = {}
  for event in run.events():
    if event["event"] == "start":
      counts[event["stage"]] = counts.get(event["stage"], 0) + event["models"]
  return counts


def scores(run):
  names = sorted(path.name for path in (run.path / "scores").glob("*.[pc]*"))
  return {name: (run.path / "scores" / name).read_bytes() for name in names}


def test_every_table_and_report_is_written(done):
  run, _, _ = done
  assert trained(run) == {"original": 5, "retrained": 10, "ft": 10}
  found = run.table("exposure")
  assert set(found["method"]) == set(STAGES)
  assert set(found["question"]) >= {"forgotten", "model"}
  assert found["value"].between(-1, 1).sum() == found["value"].notna().sum()
  samples = run.table("samples")
  assert len(samples) == 3 * run.read_json("study.json")["pool"] == 3 * 380
  for name in ("report.md", "report.html", "report.csv", "report.tex"):
    assert (run.path / name).stat().st_size > 500


def test_the_files_are_those_that_the_documentation_lists(done):
  run, _, _ = done
  text = (sweeps.ROOT / "docs" / "runs.md").read_text()
  text = text.split("study-files:begin -->")[1].split("<!-- study-files:end")[0]
  listed = set(re.findall(r"^\| `([^`]+)`", text, re.M))
  own = {path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()}
  parts = {path.parts[0] for path in own if path.parts[0] in ("scores", "state")}
  files = {path.name for path in own if len(path.parts) == 1}
  shared = {"config.json", "manifest.json", "timings.json", "log.jsonl", ".lock"}
  found = files - shared - {f"report.{kind}" for kind in ("md", "csv", "tex", "html")}
  assert listed == found | {f"scores/STAGE.{kind}" for kind in ("json", "phi", "correct")} | {
    "state/original-NUMBER/"
  }
  assert parts == {"scores", "state"}


def test_reports_are_written_again_and_models_are_listed(done, capsys):
  run, _, _ = done
  page = (run.path / "report.html").read_bytes()
  (run.path / "report.html").unlink()
  subprocess.run([sys.executable, sweeps.ROOT / "bin" / "report.py", run.path], check=True)
  assert (run.path / "report.html").read_bytes() == page
  stages = inspection.inspect(run.path)["stages"]
  assert [(stage["stage"], stage["done"], stage["models"]) for stage in stages] == [
    ("original", True, 5),
    ("retrained", True, 10),
    ("ft", True, 10),
  ]


def test_a_shadow_model_is_the_model_trained_alone(done):
  run, settings, _ = done
  lab = lab_of(run, settings)
  bench = lab.bench("retrained", [(2, 1)])
  split = lab.study.split(2, 1)
  np.testing.assert_array_equal(bench.problem.index["retain"], [split.retain])
  outcome = runner.run(
    get("retrained"),
    bench.problem,
    bench.initial_variables(),
    **stage.arguments(bench, "retrained"),
  )
  logits = alone(bench, outcome.variables, lab)
  labels = lab.dataset.labels[lab.study.pool]
  expected = logit_scaled_confidence(logits, labels).astype(np.float32)
  stored = lab.scores("retrained")
  np.testing.assert_array_equal(stored.phi([(2, 1)]), expected)
  np.testing.assert_array_equal(stored.correct([(2, 1)]), logits.argmax(-1) == labels)
  assert not np.array_equal(stored.phi([(2, 0)]), expected)


def alone(bench, variables, lab):
  population, pool = bench.problem.population, lab.study.pool
  arrays = population.share(Arrays(lab.dataset.images[pool], lab.dataset.labels[pool]))
  return predictions.logits(population, bench.problem.task, arrays, variables)


def test_scores_come_from_evaluation_mode(done):
  """Batch statistics would give other scores: the bug that once was in the public LiRA code."""
  run, settings, _ = done
  lab = lab_of(run, settings)
  saved, metadata = checkpoint.load(run.state_path("original-0000"))
  model = tuple(metadata["models"][1])
  variables = jax.tree.map(lambda leaf: leaf[1], saved)
  bench = lab.bench("original", [model])
  arrays = Arrays(lab.dataset.images[lab.study.pool], lab.dataset.labels[lab.study.pool])
  task = bench.problem.task
  x = View(task, arrays, {}, {}).fetch(Samples(np.arange(len(arrays.labels)))).x
  found = {}
  for train in (False, True):
    logits = task.forward(variables["params"], variables["batch_stats"], x, train=train)[0]
    found[train] = logit_scaled_confidence(np.asarray(logits), arrays.labels)
  stored = lab.scores("original").phi([model])[0]
  np.testing.assert_allclose(stored, found[False], atol=1e-3)
  assert np.median(np.abs(stored - found[True])) > 0.05


def test_methods_start_from_the_original_of_their_split(done):
  run, settings, _ = done
  lab = lab_of(run, settings)
  bench = lab.bench("ft", [(3, 1)])
  saved, metadata = checkpoint.load(run.state_path("original-0000"))
  row = metadata["models"].index([3, 0])  # shared by the forget sets of split 3
  start = jax.tree.map(lambda leaf: leaf[row][None], saved)
  outcome = runner.run(get("ft"), bench.problem, start, **stage.arguments(bench, "ft"))
  labels = lab.dataset.labels[lab.study.pool]
  expected = logit_scaled_confidence(alone(bench, outcome.variables, lab), labels)
  np.testing.assert_array_equal(lab.scores("ft").phi([(3, 1)]), expected.astype(np.float32))


def test_an_original_that_was_deleted_is_named_with_a_way_out(done):
  run, settings, _ = done
  ft = stage.ShadowStage(lab_of(run, settings), "ft")
  state = run.state_path("original-0000")
  state.rename(run.path / "elsewhere")
  try:
    with pytest.raises(StoreError, match=r"no original model \(3, 0\); delete .*original\.json"):
      ft._originals([(3, 1)])
  finally:
    (run.path / "elsewhere").rename(state)


@pytest.mark.parametrize("content", ["[]", "{}"])
def test_an_index_of_another_form_is_one_line_in_the_plan(done, tmp_path, content):
  run, _, _ = done
  argv = studies.arguments(tmp_path)
  path = tmp_path / run.path.name / "scores" / "ft.json"
  path.parent.mkdir(parents=True)
  path.write_text(content)
  with pytest.raises(StoreError, match=r"ft\.json is damaged \("):
    shadows.plan(studies.settings(*argv))


def test_a_study_grows_and_trains_only_what_is_missing(done, tmp_path):
  run, _, _ = done
  assert sweeps.call(*studies.arguments(tmp_path, splits=4)) == 0
  small = Run.open(sweeps.only_run(tmp_path))
  assert trained(small) == {"original": 4, "retrained": 8, "ft": 8}
  first = {name: data for name, data in scores(small).items()}
  assert sweeps.call(*studies.arguments(tmp_path)) == 0
  grown = Run.open(sweeps.only_run(tmp_path))
  assert trained(grown) == {"original": 5, "retrained": 10, "ft": 10}
  assert scores(grown) == scores(run)
  assert all(scores(grown)[name].startswith(data) for name, data in first.items())
  assert grown.path.name == run.path.name
  assert (grown.path / "exposure.parquet").read_bytes() == (
    run.path / "exposure.parquet"
  ).read_bytes()


def test_groups_of_models_change_no_score(done, tmp_path):
  """Groups of 4 and of 1 (the last, with free places) hold what one group of all holds."""
  run, _, _ = done
  few = "--config.population.members_at_once=4"
  assert sweeps.call(*studies.arguments(tmp_path, few)) == 0
  other = Run.open(sweeps.only_run(tmp_path))
  assert other.path.name == run.path.name
  assert scores(other) == scores(run)
  assert len(list((other.path / "state").iterdir())) == 2  # originals 0-3 and 4


def test_another_method_takes_the_shadows_of_a_sibling_over(done, capsys):
  run, _, folder = done
  before = scores(run)
  assert sweeps.call(*studies.arguments(folder, methods="ft,ga")) == 0
  said = capsys.readouterr().err
  for name in STAGES:
    assert f"{name}: taken over from {run.path.name}" in said
  (other,) = [path for path in folder.iterdir() if path != run.path]
  assert trained(Run.open(other)) == {"ga": 10}
  assert scores(run) == before


def test_scores_of_another_recipe_are_refused(done, tmp_path, capsys):
  run, settings, _ = done
  lab = lab_of(run, settings)
  index = run.read_json("scores/ft.json")
  changed = json.loads(json.dumps(index)) | {"identity": "0" * 64}
  run.write_json("scores/ft.json", changed)
  try:
    with pytest.raises(StoreError, match="must not be mixed"):
      lab.scores("ft")
  finally:
    run.write_json("scores/ft.json", index)


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("--config.seeds=0,1", "config.seeds has 2 seeds"),
    ("--config.ulira.splits=1", "config.ulira.splits is 1; expected a whole number at least 2"),
    ("--config.ulira.pool=100000", "the U-LiRA pool has 100000 samples"),
    ("--config.ulira.pool=100", "a forget set of this study has 5 samples"),
    ("--config.ulira.fit=gauss", "config.ulira.fit: unknown 'gauss'"),
    ("--config.ulira.forgets=0", "config.ulira.forgets is 0"),
  ],
)
def test_bad_studies_are_refused_in_one_line(tmp_path, capsys, override, message):
  assert sweeps.call(*studies.arguments(tmp_path, override)) == 2
  said = capsys.readouterr().err.strip().splitlines()
  assert len(said) == 1 and message in said[0]
  assert not list(tmp_path.iterdir())


def test_the_plan_counts_models_and_what_is_missing(done):
  folder = done[-1]
  text = shadows.plan(studies.settings(*studies.arguments(folder, splits=6)))
  lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
  assert lines["original"][1:3] == ["6", "1"]
  assert lines["ft"][1:3] == ["12", "2"]
  assert lines["total"][1:3] == ["30", "5"]
  own = studies.settings(*studies.arguments(folder, "--config.ulira.share_original=false"))
  fresh = shadows.plan(own)
  assert [line.split()[1:3] for line in fresh.splitlines() if line.startswith("original")] == [
    ["10", "10"]
  ]


def test_a_killed_study_ends_with_the_same_scores(done, tmp_path):
  """SIGKILL while two stages train; a third run finds their legs and finishes."""
  run, _, _ = done
  for name in ("original", "ft"):
    sweeps.kill_within(name, studies.arguments(tmp_path), tmp_path)
  assert sweeps.call(*studies.arguments(tmp_path)) == 0
  again = Run.open(sweeps.only_run(tmp_path))
  assert scores(again) == scores(run)
  assert (again.path / "exposure.parquet").read_bytes() == (
    run.path / "exposure.parquet"
  ).read_bytes()
  assert not list(again.path.glob("legs/*"))


def test_diverged_models_are_left_out_of_the_attacks(tmp_path):
  """Fine-tuning at an absurd rate turns every model non-finite: its report line has no numbers."""
  rate = "--config.unlearning.ft.learning_rate=1e30"
  assert sweeps.call(*studies.arguments(tmp_path, rate, splits=4)) == 0
  run = Run.open(sweeps.only_run(tmp_path))
  assert run.read_json("study.json")["failed"] == {"original": 0, "retrained": 0, "ft": 8}
  found = run.table("exposure")
  assert set(found[found["question"] == "forgotten"]["method"]) == {"original", "retrained"}
  assert run.table("samples").query("method == 'ft'")["accuracy"].isna().all()


@pytest.mark.parametrize(
  ("hours", "text"), [(0, "0 s"), (119 / 3600, "119 s"), (0.5, "30.0 min"), (40.55, "40.5 h")]
)
def test_plans_say_times_in_fitting_units(hours, text):
  assert duration(hours) == text
