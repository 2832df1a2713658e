"""Studies of shadow models: each is the model trained alone; they grow, and are not mixed."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import studies, sweeps

from jaxmu import data
from jaxmu.audit.attacks.scores import logit_scaled_confidence
from jaxmu.data.streams import Samples
from jaxmu.engine.keys import stage_number
from jaxmu.engine.population import fold_keys, folded_keys
from jaxmu.execution import predictions, runner
from jaxmu.execution.setup import Setup
from jaxmu.quantities import duration
from jaxmu.store import Run, inspection
from jaxmu.store.record import Record
from jaxmu.store.records import StudyRecord
from jaxmu.studies import STUDIES, plan
from jaxmu.studies.study import Outline, known
from jaxmu.training import View

STAGES = ("original", "retrained", "ft")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """A finished study: its run, its settings and the folder it lies in."""
  folder = tmp_path_factory.mktemp("study")
  arguments = studies.arguments(folder)
  assert sweeps.call(*arguments) == 0
  return Run.open(sweeps.only_run(folder)), studies.settings(*arguments), folder


def stages_of(settings):
  dataset = data.load_for(settings)
  outline = Outline(settings, data.Facts.of(dataset), dataset.num_classes)
  return dataset, {stage.name: stage for stage in known(STUDIES["ulira"].stages(outline))}


def trained(run):
  """Count the models trained so far, by stage, from the log."""
  counts = {}
  for event in run.events():
    if event["event"] == "start":
      counts[event["stage"]] = counts.get(event["stage"], 0) + event["members"]
  return counts


def scores(run):
  record = Record(run.path)
  found = {name: record.scores(name) for name in record.expected}
  return {name: [np.asarray(array).tobytes() for array in pair] for name, pair in found.items()}


def test_every_table_and_report_is_written(done):
  run, _, _ = done
  assert trained(run) == {"original": 5, "retrained": 10, "ft": 10}
  found = run.table("exposure")
  assert set(found["method"]) == set(STAGES)
  assert set(found["question"]) >= {"forgotten", "model"}
  assert found["value"].between(-1, 1).sum() == found["value"].notna().sum()
  samples = run.table("samples")
  assert len(samples) == 3 * run.record(StudyRecord, "study.json").pool == 3 * 380
  for name in ("report.md", "report.html", "report.csv", "report.tex"):
    assert (run.path / name).stat().st_size > 500


def test_only_originals_keep_their_weights(done):
  run, _, _ = done
  kept = {path.relative_to(run.path).parts[1] for path in run.path.glob("stages/*/*/variables")}
  assert kept == {"original"}
  assert not list(run.path.glob("stages/*/*/logits.npy"))


def test_reports_are_written_again_and_models_are_listed(done):
  run, _, _ = done
  page = (run.path / "report.html").read_bytes()
  (run.path / "report.html").unlink()
  subprocess.run([sys.executable, sweeps.ROOT / "bin" / "report.py", run.path], check=True)
  assert (run.path / "report.html").read_bytes() == page
  stages = inspection.inspect(run.path)["stages"]
  assert [(stage["stage"], stage["done"], stage["members"]) for stage in stages] == [
    ("original", 5, 5),
    ("retrained", 10, 10),
    ("ft", 10, 10),
  ]


def alone(settings, dataset, stage, at, start=None):
  """Train one model of a stage by itself; return its logits of the pool."""
  (member,) = [member for member in stage.members if member.at == at]
  setup = Setup(settings, dataset, chunk=1)
  problem, keys = setup.problem([member.sets]), folded_keys([member.key])
  shared = None if stage.order_seed is None else jax.random.key(stage.order_seed)[None]
  outcome = runner.run(
    stage.method,
    problem,
    setup.initial_variables(problem.population, keys) if start is None else start,
    hp=[member.hp],
    keys=fold_keys(keys, stage_number(stage.name)),
    order_keys=shared,
    fidelity=settings.fidelity,
  )
  arrays = setup.arrays(stage.samples)
  return predictions.logits(problem.population, setup.task, arrays, outcome.variables)


def test_a_shadow_model_is_the_model_trained_alone(done):
  run, settings, _ = done
  dataset, stages = stages_of(settings)
  stage, at = stages["retrained"], {"split": 2, "forget": 1}
  logits = alone(settings, dataset, stage, at)
  labels = dataset.labels[stage.samples]
  expected = logit_scaled_confidence(logits, labels).astype(np.float32)
  phi, correct = Record(run.path).scores("retrained", at)
  np.testing.assert_array_equal(phi, expected)
  np.testing.assert_array_equal(correct, logits.argmax(-1) == labels)
  assert not np.array_equal(Record(run.path).scores("retrained", at | {"forget": 0})[0], expected)


def test_methods_start_from_the_original_of_their_split(done):
  """The forget sets of a split share the original of the first one."""
  run, settings, _ = done
  dataset, stages = stages_of(settings)
  start = Record(run.path).variables("original", {"split": 3, "forget": 0})
  at = {"split": 3, "forget": 1}
  logits = alone(settings, dataset, stages["ft"], at, start)
  expected = logit_scaled_confidence(logits, dataset.labels[stages["ft"].samples])
  stored = Record(run.path).scores("ft", at)[0]
  np.testing.assert_array_equal(stored, expected.astype(np.float32))


def test_scores_come_from_evaluation_mode(done):
  """Batch statistics would give other scores: the bug that once was in the public LiRA code."""
  run, settings, _ = done
  dataset, stages = stages_of(settings)
  setup, at = Setup(settings, dataset, chunk=1), {"split": 1, "forget": 0}
  own = jax.tree.map(lambda leaf: leaf[0], Record(run.path).variables("original", at))
  arrays = setup.arrays(stages["original"].samples)
  x = View(setup.task, arrays, {}, {}).fetch(Samples(np.arange(len(arrays.labels)))).x
  found = {}
  for train in (False, True):
    logits = setup.task.forward(own["params"], own["batch_stats"], x, train=train)[0]
    found[train] = logit_scaled_confidence(np.asarray(logits), np.asarray(arrays.labels))
  stored = Record(run.path).scores("original", at)[0][0]
  np.testing.assert_allclose(stored, found[False], atol=1e-3)
  assert np.median(np.abs(stored - found[True])) > 0.05


def test_a_study_grows_and_trains_only_what_is_missing(done, tmp_path):
  run, _, _ = done
  assert sweeps.call(*studies.arguments(tmp_path, splits=4)) == 0
  small = Run.open(sweeps.only_run(tmp_path))
  assert trained(small) == {"original": 4, "retrained": 8, "ft": 8}
  first = {p: p.read_bytes() for p in small.path.glob("stages/*/*/*.npy")}
  assert sweeps.call(*studies.arguments(tmp_path)) == 0
  grown = Run.open(sweeps.only_run(tmp_path))
  assert trained(grown) == {"original": 5, "retrained": 10, "ft": 10}
  assert scores(grown) == scores(run)
  assert {path: path.read_bytes() for path in first} == first
  assert grown.path.name == run.path.name
  assert (grown.path / "exposure.parquet").read_bytes() == (
    run.path / "exposure.parquet"
  ).read_bytes()


def test_units_of_any_size_change_no_score(done, tmp_path):
  """Units of 4 and of 2 members, with free places, hold what one unit of all holds."""
  run, _, _ = done
  few = "--config.population.members_at_once=4"
  assert sweeps.call(*studies.arguments(tmp_path, few)) == 0
  other = Run.open(sweeps.only_run(tmp_path))
  assert other.path.name == run.path.name
  assert scores(other) == scores(run)
  sizes = [len(group.members) for group in Record(other.path).groups("original")]
  assert sorted(sizes) == [2, 3]
  assert [len(group.members) for group in Record(run.path).groups("original")] == [5]


def test_another_method_is_added_in_place(done, tmp_path, capsys):
  run, _, folder = done
  before = scores(run)
  assert sweeps.call(*studies.arguments(folder, methods="ft,ga")) == 0
  said = capsys.readouterr().err
  for name in STAGES:
    assert f"{name}: done before" in said
  assert [path.name for path in folder.iterdir()] == [run.path.name]
  assert trained(Run.open(run.path)) == {"original": 5, "retrained": 10, "ft": 10, "ga": 10}
  after = scores(run)
  assert {name: after[name] for name in before} == before and set(after) == {*before, "ga"}
  assert set(Run.open(run.path).table("exposure")["method"]) == {*STAGES, "ga"}


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

  def counts(*overrides, **sizes):
    found = plan.plan(studies.settings(*studies.arguments(folder, *overrides, **sizes)))
    names = dict.fromkeys(unit.stage for unit in found.units)
    of = lambda name, state: sum(
      len(u.members) for u in found.units if u.stage == name and u.state in state
    )
    return {name: (of(name, ("done", "to do")), of(name, ("to do",))) for name in names}

  assert counts(splits=6) == {"original": (6, 1), "retrained": (12, 2), "ft": (12, 2)}
  assert counts("--config.ulira.share_original=false")["original"] == (10, 10)


def test_a_killed_study_ends_with_the_same_scores(done, tmp_path):
  """SIGKILL while two stages train; a third run finds their legs and finishes."""
  run, _, _ = done
  for name in ("original", "ft"):
    sweeps.kill_within(name, studies.arguments(tmp_path), tmp_path)
  assert sweeps.call(*studies.arguments(tmp_path)) == 0
  again = Run.open(sweeps.only_run(tmp_path))
  own, other = scores(again), scores(run)
  assert own == {name: other[name] for name in own}
  assert not [path for path in again.path.glob("legs/**/*") if path.is_file()]


def test_diverged_models_are_left_out_of_the_attacks(tmp_path):
  """Fine-tuning at an absurd rate turns every model non-finite: its report line has no numbers."""
  rate = "--config.unlearning.ft.learning_rate=1e30"
  assert sweeps.call(*studies.arguments(tmp_path, rate, splits=4)) == 0
  run = Run.open(sweeps.only_run(tmp_path))
  failed = run.record(StudyRecord, "study.json").failed
  assert failed == {"original": 0, "retrained": 0, "ft": 8}
  found = run.table("exposure")
  assert set(found[found["question"] == "forgotten"]["method"]) == {"original", "retrained"}
  assert run.table("samples").query("method == 'ft'")["accuracy"].isna().all()


def test_the_files_are_those_that_the_documentation_lists(done):
  run, _, _ = done
  text = (sweeps.ROOT / "docs" / "runs.md").read_text()
  text = text.split("study-files:begin -->")[1].split("<!-- study-files:end")[0]
  listed = set(re.findall(r"^\| `([^`]+)`", text, re.M))
  own = {path.name for path in run.path.iterdir() if path.is_file()}
  shared = {"config.json", "manifest.json", "members.json", "results.json", "timings.json"}
  shared |= {"log.jsonl", ".lock", *(f"report.{kind}" for kind in ("md", "csv", "tex", "html"))}
  groups = {path.name for path in run.path.glob("stages/*/*/*")} - {"marker.json", "variables"}
  assert listed == (own - shared) | {f"stages/STAGE/GROUP/{name}" for name in groups}


@pytest.mark.parametrize(
  ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (1800, "30.0 min"), (145980, "40.5 h")]
)
def test_plans_say_times_in_fitting_units(seconds, text):
  assert duration(seconds) == text


BY_CLASS = (
  *("--config.scenario.forget=classes", "--config.scenario.classes=1"),
  "--config.scenario.share=0.5",
)


@pytest.fixture(scope="module")
def by_class(tmp_path_factory):
  """A finished study whose models forget samples of one class, and its arguments."""
  folder = tmp_path_factory.mktemp("class")
  longer = ("--config.training.num_epochs=20", "--config.training.learning_rate=0.2")
  arguments = studies.arguments(folder, *BY_CLASS, *longer, splits=6, forgets=4)
  assert sweeps.call(*arguments) == 0
  return Run.open(sweeps.only_run(folder)), arguments


def test_a_study_by_class_attacks_samples_of_the_class_alone(by_class):
  run, _ = by_class
  samples = run.table("samples")
  forgotten = samples["n_forgotten"] > 0
  assert len(samples) == 3 * 380 and set(samples["label"][forgotten]) == {1}
  assert samples["accuracy"][~forgotten].isna().all()
  assert samples["accuracy"][forgotten].notna().mean() > 0.8
  assert set(samples["label"][samples["exposed"] >= 0]) == {1}
  study = run.record(StudyRecord, "study.json")
  assert study.forgotten_per_sample.min >= 1
  assert study.forgotten_per_sample.mean == samples["n_forgotten"][forgotten].mean()


def test_its_tables_are_finite_and_no_attack_knows_the_class_of_a_retrained_model(by_class):
  run, _ = by_class
  table = run.table("exposure").set_index(["method", "question", "statistic"]).sort_index()
  found = table["value"]
  names = ("accuracy", "auc", "confirmed_worst", "rmia_auc", "population", "kernel_auc")
  for method in STAGES:
    assert np.isfinite(found.loc[method, "forgotten"][list(names)]).all()
    assert np.isfinite(found.loc[method, "retained"]["accuracy"])
  # Against held-out samples of all classes, one threshold would tell the class.
  assert found["retrained", "forgotten", "population"] < 0.65
  bounds = table.loc["retrained", "forgotten", "accuracy"]
  assert bounds["low"] <= 0.5 <= bounds["high"]


def test_its_report_and_plan_say_who_is_forgotten(by_class, capsys):
  run, arguments = by_class
  text = (run.path / "report.md").read_text()
  assert (
    "- Forgotten: classes pattern 1, 50 % of their samples; compared with the same samples in"
    in text
  )
  assert "a sample that some model forgot was forgotten by" in text
  about = plan.plan(studies.settings(*arguments)).about
  count = (run.table("samples").query("method == 'ft'")["label"] == 1).sum()
  size = run.record(StudyRecord, "study.json").sizes.forget
  assert f"forget sets: {size} of the {count} samples of classes 1 in the pool" in about[2]
  each = size * 24 / count
  assert f"such a sample is forgotten in {each:.1f} and never seen in 12 of 24" in about[3]


def test_a_study_by_groups_says_how_many(tmp_path):
  groups = ("--config.scenario.forget=groups", "--config.scenario.groups=12")
  persons = studies.arguments(tmp_path, "--config.dataset=identities", *groups)
  assert "samples of 12 drawn groups in the pool" in plan.plan(studies.settings(*persons)).about[2]


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    (("--config.scenario.forget=ranked", "--config.scenario.scores=a.npy"), "is 'ranked' and ret"),
    (("--config.scenario.forget=listed", "--config.scenario.path=a.npz"), "is 'listed' and retai"),
    (
      ("--config.scenario.retain_share=0.5",),
      "retain_share 0.5; expected random or classes or groups, and 1, as shadow models take",
    ),
    ((*BY_CLASS, "--config.scenario.share=0.1"), "a forget set of this study has 4 samples, the a"),
    (
      ("--config.scenario.forget=groups", "--config.scenario.groups=2"),
      "but the data set has no groups",
    ),
  ],
)
def test_requests_that_a_study_does_not_take_are_one_line(overrides, message, tmp_path, capsys):
  assert sweeps.call(*studies.arguments(tmp_path, *overrides)) == 2
  said = capsys.readouterr().err
  assert message in said and said.count("\n") == 1
  assert not list(tmp_path.iterdir())
