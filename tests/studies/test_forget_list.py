"""A file of positions decides what is forgotten, through the plan, the splits and a whole run."""

import numpy as np
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.command import cli
from jaxmu.errors import DataError
from jaxmu.settings import Settings
from jaxmu.store import Run
from jaxmu.store.record import Record
from jaxmu.studies import catalog

OWN = np.array([399, 3, 77, 150, 151, 152, 8, 9])


def load_data(settings):
  dataset = data.load_for(settings)
  return dataset, data.splits_for(settings, data.Facts.of(dataset))


def write(tmp_path, positions=OWN):
  path = tmp_path / "own.csv"
  path.write_text("index\n" + "".join(f"{position}\n" for position in positions))
  return f"--config.data.forget={path}"


def settings(tmp_path, *overrides, positions=OWN):
  argv = sweeps.arguments(tmp_path / "runs", write(tmp_path, positions), *overrides)
  return Settings.from_config(cli.parse(cli.parser("sweep"), argv).config, catalog())


def test_every_seed_forgets_the_list_and_holds_out_others(tmp_path):
  dataset, splits = load_data(settings(tmp_path))
  assert len(splits) == 2
  for split in splits:
    np.testing.assert_array_equal(split.forget, np.sort(OWN))
    np.testing.assert_array_equal(split.test, np.arange(400, 500))
    assert split.sizes == {"train": 340, "retain": 332, "forget": 8, "val": 60, "test": 100}
  assert set(splits[0].val) != set(splits[1].val)
  again = data.listed_split(np.sort(OWN), 400, 500, seed=124)
  assert again.sha256 == splits[1].sha256
  assert dataset.num_train == 400


def test_one_split_for_all_seeds(tmp_path):
  _, splits = load_data(settings(tmp_path, "--config.data.split_per_seed=false"))
  assert splits[0] is splits[1]
  assert splits[0].sha256 == data.listed_split(np.sort(OWN), 400, 500).sha256


def test_positions_hold_in_a_subset_and_outside_it_they_are_refused(tmp_path):
  kept = data.subset(data.load("synthetic"), 200).indices[:200][::20]
  few = settings(tmp_path, "--config.data.subset_train=200", positions=kept)
  dataset, splits = load_data(few)
  np.testing.assert_array_equal(dataset.indices[splits[0].forget], kept)
  with pytest.raises(
    DataError, match=r"own.csv, line \d: \d+; is no training sample; expected one"
  ):
    load_data(settings(tmp_path, "--config.data.subset_train=200"))


def test_a_file_that_changes_between_config_and_data_is_refused(tmp_path):
  made = settings(tmp_path)
  write(tmp_path, OWN[1:])
  with pytest.raises(
    DataError, match=r"own\.csv changed while it was in use; run the same command"
  ):
    load_data(made)


def plan(tmp_path, *overrides):
  return sweeps.call(*sweeps.arguments(tmp_path / "runs", "--plan", *overrides, methods="ft"))


def test_the_plan_has_the_sizes_of_the_list(tmp_path, capsys):
  assert plan(tmp_path, write(tmp_path)) == 0
  out = capsys.readouterr().out
  assert "retain 332, forget 8, validation 60, test 100 images" in out
  assert f"forgotten: the samples of {tmp_path}/own.csv" in out


@pytest.mark.parametrize(
  ("positions", "overrides", "message"),
  [
    ([400], [], "own.csv, line 2: 400; is in the test part; expected 0..399, the training part"),
    (OWN, ["--config.data.subset_train=200"], "is no training sample; expected one of the 200 tra"),
    (
      OWN[:5],
      [],
      "the forget set has 5 samples, the attack needs at least 6; use more data, a lar",
    ),
    (
      range(350),
      [],
      "350 of 400 training samples are to be forgotten and 60 held out for validati",
    ),
    (range(400), [], "own.csv names all 400 training samples, which leaves none to retain"),
  ],
)
def test_the_plan_refuses_what_the_run_refuses(positions, overrides, message, tmp_path, capsys):
  argv = sweeps.arguments(tmp_path / "runs", write(tmp_path, positions), *overrides, methods="ft")
  for words in (argv, [*argv, "--plan"]):
    assert sweeps.call(*words) == 2
    out, shown = capsys.readouterr()
    assert (out, shown.count("\n")) == ("", 1)
    assert message in shown
  assert [path.name for path in tmp_path.iterdir()] == ["own.csv"]


def test_a_run_forgets_the_list(tmp_path):
  argv = sweeps.arguments(tmp_path / "runs", write(tmp_path), methods="ft", epochs=1)
  assert sweeps.call(*argv) == 0
  run = Run.open(sweeps.only_run(tmp_path / "runs"))
  assert run.manifest.split.sizes["forget"] == len(OWN)
  assert run.config["data"]["forget_sha256"] == settings(tmp_path).data.forget_sha256
  dataset, _ = load_data(Settings.from_config(run.config, catalog()))
  right = Record(run.path).logits("original")[0].argmax(-1) == dataset.labels
  row = run.rows().set_index(["method", "seed"]).loc[("original", 0)]
  assert right[OWN].mean() == row.FA


def test_the_plan_of_a_data_file_reads_headers_and_names_classes(tmp_path, capsys, monkeypatch):
  dataset = data.load("synthetic")
  arrays = {"images": dataset.images, "labels": dataset.labels, "num_train": 400}
  np.savez(tmp_path / "mine.npz", **arrays, classes=["cat", "dog", "owl", "fox"], forget=OWN)
  own = ["--config.dataset=npz", f"--config.data.path={tmp_path / 'mine.npz'}"]
  own += ["--config.data.random_labels=0"]
  assert (
    plan(tmp_path, *own, "--config.scenario.forget=classes", "--config.scenario.classes=2") == 0
  )
  assert "forgotten: classes owl" in capsys.readouterr().out
  monkeypatch.setattr("jaxmu.data.chosen.load", lambda *_, **__: pytest.fail("images were read"))
  assert plan(tmp_path, *own) == 0
  out = capsys.readouterr().out
  assert "forget 8, validation 60, test 100 images" in out
  assert f"forgotten: the samples of {tmp_path / 'mine.npz'}" in out
