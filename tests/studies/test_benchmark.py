"""The whole chain in one process: files, numbers, resumption, borrowing, refusals."""

import dataclasses

import flax.linen as nn
import numpy as np
import pytest
from support import sweeps

from jaxmu import data, models
from jaxmu.audit import metrics
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.settings import Settings
from jaxmu.store import Run, files
from jaxmu.store.groups import Cost
from jaxmu.store.record import Record
from jaxmu.studies import catalog


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  assert sweeps.call(*sweeps.arguments(folder)) == 0
  return folder


@pytest.fixture(scope="module")
def run(folder):
  return Run.open(sweeps.only_run(folder))


@pytest.fixture(scope="module")
def record(run):
  return Record(run.path)


def data_of(run):
  settings = Settings.from_config(run.config, catalog())
  dataset = data.load_for(settings)
  return dataset, data.splits_for(settings, data.Facts.of(dataset))


def test_writes_one_row_per_method_and_seed_with_all_columns(run):
  rows = run.rows()
  assert tuple(rows.columns) == metrics.columns()
  assert [tuple(r) for r in rows[["method", "seed"]].to_numpy()] == [
    (method, seed) for method in ("original", "retrained", "ft", "msg") for seed in (0, 1)
  ]
  assert rows["finite"].all()
  assert (rows[rows.method == "retrained"]["RetDev"] == 0).all()


def test_an_audit_of_the_stored_logits_equals_the_rows(run, record):
  """`jaxmu.audit` gives anybody's logits the numbers that a run's report has."""

  from jaxmu.audit import audit

  dataset, splits = data_of(run)
  rows = run.rows().set_index(["method", "seed"])
  logits = {name: record.logits(name) for name in ("ft", "retrained", "original")}
  for k, split in enumerate(splits):
    found = audit(
      logits=logits["ft"][k],
      labels=dataset.labels,
      forget=split.forget,
      unseen=split.test,
      retrained=logits["retrained"][k],
      original=logits["original"][k],
      retain=split.retain,
      validation=split.val,
    )
    known = {"unlearned": "ft", "retrained": "retrained", "original": "original"}
    for _, row in found.rows.iterrows():
      stored = rows.loc[(known[row["method"]], k)]
      same = [
        c for c in found.rows.columns if c in stored.index and not c.startswith(("RTE", "TA_"))
      ]
      assert len(same) >= 30
      for column in same:
        assert row[column] == stored[column] or (row[column] != row[column]), column


def test_an_evaluation_of_the_stored_logits_equals_the_report(run, record):
  """`jaxmu.evaluate`, given all seeds with their own splits: numbers, intervals, differences."""

  from jaxmu import evaluate
  from jaxmu.report.benchmark.benchmark_data import from_run, judge

  dataset, splits = data_of(run)
  sets = {"retain": "retain", "forget": "forget", "unseen": "test", "validation": "val"}
  found = evaluate(
    original=record.logits("original"),
    unlearned=record.logits("ft"),
    retrained=record.logits("retrained"),
    labels=dataset.labels,
    **{mine: np.stack([getattr(split, its) for split in splits]) for mine, its in sets.items()},
  )
  summary = judge(from_run(run)).summary
  known = {"unlearned": "ft", "retrained": "retrained", "original": "original"}
  # Whose labels were kept (TA_clean) is known to the run alone.
  shared = lambda table: table[table["metric"] != "TA_clean"].dropna().itertuples()
  assert len(found.intervals) >= 60 and len(found.differences) >= 15
  for row in shared(found.intervals):
    cell = summary.cell(known[row.method], row.metric)
    assert (row.value, row.low, row.high) == (cell.mean, cell.low, cell.high), row
  for row in shared(found.differences):
    cell = summary.difference(known[row.method], known[row.other], row.metric)
    assert (row.value, row.low, row.high) == (cell.mean, cell.low, cell.high), row
  assert found.audit.results.split_per_seed


def test_rows_are_recomputed_from_logits_and_split(run, record):
  """An independent path: logits on disk, the split's arithmetic, the attack called by hand."""

  dataset, splits = data_of(run)
  rows = run.rows().set_index(["method", "seed"])
  for method in ("original", "msg"):
    logits = record.logits(method)
    for k, split in enumerate(splits):
      right = logits[k].argmax(-1) == dataset.labels
      row = rows.loc[(method, k)]
      assert pytest.approx(right[split.retain].mean()) == row.RA
      assert pytest.approx(right[split.forget].mean()) == row.FA
      assert pytest.approx(right[split.test].mean()) == row.TA
      kept = dataset.labels[split.test] == dataset.original_labels[split.test]
      assert 0 < kept.mean() < 1
      assert row.TA_clean == pytest.approx(right[split.test][kept].mean())
      loss = cross_entropy(logits[k], dataset.labels)
      assert population_mia(loss[split.test], loss[split.forget]).accuracy == row.T_MIA
  reference = rows.loc[("retrained", 1)]
  ratios = [rows.loc[("ft", 1)][c] / reference[c] for c in ("RA", "FA", "TA")]
  assert rows.loc[("ft", 1)].RetDev == pytest.approx(sum(abs(r - 1) for r in ratios))


def test_every_seed_has_its_own_weights_and_its_own_split(run, record):
  kernel = record.variables("original")["params"]["stem"]["conv"]["kernel"]
  assert [member.at for member in record.members("original")] == [{"seed": 0}, {"seed": 1}]
  assert np.abs(kernel[0] - kernel[1]).max() > 0.1
  assert run.manifest.split.per_seed


def test_work_is_counted_in_sample_passes(run):
  """Synthetic: 400 train = 60 validation + 34 forget + 306 retain samples, 3 epochs each."""
  rows = run.rows().drop_duplicates("method").set_index("method")
  assert rows.passes["original"] == 3 * 3 * 340
  assert rows.passes["retrained"] == 3 * 3 * 306
  assert rows.passes["ft"] == 3 * 3 * 306
  assert rows.passes["msg"] == 3 * 3 * 306 + 3 * (34 + 34)
  assert rows.RTE_work["ft"] == 1


def test_saved_weights_give_the_saved_logits(record):
  variables = record.variables("ft")
  member = {name: {k: v for k, v in part.items()} for name, part in _member(variables, 1).items()}
  from jaxmu.data import datasets
  from jaxmu.data.augment import Preprocess, preprocess

  dataset = datasets.load("synthetic")
  spec = Preprocess(tuple(dataset.mean), tuple(dataset.std), "none", dataset.channels)
  x = preprocess(spec, dataset.images[:50], None, False)
  module = models.make("cnn", dataset.num_classes, width=4)
  logits = module.apply(member, x, train=False)
  np.testing.assert_allclose(logits, record.logits("ft")[1][:50], atol=1e-5)


def _member(tree, k):
  import jax

  return jax.tree.map(lambda leaf: leaf[k], tree)


def test_report_and_side_files_are_there(run):
  for name in ("report.html", "report.md", "report.tex", "report.csv", "config.json"):
    assert (run.path / name).stat().st_size > 100
  assert set(run.record(dict[str, Cost], "timings.json")) == {"original", "retrained", "ft", "msg"}
  curves = run.table("curves")
  assert set(curves.stage) == {"original", "retrained", "ft", "msg"}
  assert curves[curves.stage == "original"].epoch.tolist() == [1, 1, 2, 2, 3, 3]
  assert not [path for path in (run.path / "legs").rglob("*") if path.is_file()]
  events = [event["event"] for event in run.events()]
  assert events.count("done") == 4


def test_the_same_command_again_changes_nothing(folder, run, capsys):
  before = {path: path.read_bytes() for path in run.path.rglob("*.parquet")}
  states = {path: path.stat().st_mtime_ns for path in (run.path / "stages").rglob("*")}
  assert sweeps.call(*sweeps.arguments(folder)) == 0
  assert "msg: done before" in capsys.readouterr().err
  assert {path: path.read_bytes() for path in before} == before
  assert {path: path.stat().st_mtime_ns for path in states} == states


def test_another_method_setting_borrows_everything_else(folder, run, record, capsys):
  changed = sweeps.arguments(folder, "--config.unlearning.ft.learning_rate=0.01")
  assert sweeps.call(*changed) == 0
  said = capsys.readouterr().err
  assert f"original: 2 members taken over from {run.path.name}" in said
  assert f"msg: 2 members taken over from {run.path.name}" in said
  assert "ft: 2 members done in" in said
  (other,) = [p for p in folder.iterdir() if p.is_dir() and p != run.path]
  ours, theirs = (Run.open(p).rows().set_index("method") for p in (run.path, other))
  for method in ("original", "retrained", "msg"):
    assert ours.loc[method].equals(theirs.loc[method])
    (lent,) = Record(other).groups(method)
    assert lent.borrowed_from == run.path.name
    files = [r.folder(method, lent.group) / "logits.npy" for r in (record, Record(other))]
    assert files[0].stat().st_ino == files[1].stat().st_ino  # one copy on disk
  assert not ours.loc["ft"].equals(theirs.loc["ft"])


def test_going_on_with_other_versions_is_said_and_logged(folder, run, capsys):
  path = run.path / "manifest.json"
  before = path.read_bytes()
  versions = run.manifest.versions | {"optax": "0.0.1"}
  files.write_sealed(path, dataclasses.replace(run.manifest, versions=versions))
  try:
    assert sweeps.call(*sweeps.arguments(folder)) == 0
  finally:
    path.write_bytes(before)
  said = capsys.readouterr().err
  assert "note: this run began with other versions (optax 0.0.1 -> " in said
  assert "versions changed" in [event["event"] for event in run.events()]


def test_a_diverged_member_is_reported_not_hidden(tmp_path):
  argv = sweeps.arguments(tmp_path, "--config.unlearning.ft.learning_rate=1e30", methods="ft")
  assert sweeps.call(*argv) == 0
  run = Run.open(sweeps.only_run(tmp_path))
  rows = run.rows().set_index("method")
  assert not rows.loc["ft"].finite.any()
  assert rows.loc["ft"].TA.isna().all()
  assert rows.loc["ft"].failed_steps.str.contains(r"epoch \d+ \(steps \d+-\d+\)").all()
  assert rows.loc["retrained"].finite.all()
  assert "steps" in (run.path / "report.md").read_text()


class WithoutBatchNorm(nn.Module):
  """A network whose batch statistics are an empty dictionary."""

  num_classes: int

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


def test_a_network_without_batch_statistics_goes_through(tmp_path, monkeypatch):
  """Methods start from a checkpoint of the original models, which holds no array of them."""
  monkeypatch.setitem(models.MODELS, "resnet18", WithoutBatchNorm)
  argv = sweeps.arguments(tmp_path, "--config.model.name=resnet18", methods="ft")
  assert sweeps.call(*argv) == 0
  run = Run.open(sweeps.only_run(tmp_path))
  assert Record(run.path).variables("ft")["batch_stats"] == {}
  assert run.rows()["finite"].all()


def test_plan_lists_work_and_what_is_done(folder, capsys):
  assert sweeps.call(*sweeps.arguments(folder), "--plan") == 0
  out = capsys.readouterr().out
  assert "retain 306, forget 34, validation 60, test 100" in out
  line = next(line for line in out.splitlines() if line.startswith("msg"))
  assert line.split()[:5] == ["msg", "2", "0", "1", "15"]  # 3 epochs of ceil(306 / 64) steps
  assert line.endswith("done")


def test_plan_needs_the_headers_of_a_data_file(tmp_path, capsys):
  argv = sweeps.arguments(tmp_path, "--config.dataset=npz", "--config.data.path=mine.npz")
  assert sweeps.call(*argv, "--plan") == 2
  assert capsys.readouterr().err.startswith("error: data file mine.npz does not exist")


def test_manifest_says_what_produced_the_run(run):
  manifest = run.manifest
  assert manifest.versions["jax"]
  assert manifest.split.sizes["forget"] == 34
  assert manifest.methods["msg"].hyperparameters["num_epochs"] == 3
  assert manifest.chunk == 1
