"""Forgetting classes and persons, from the config to the report."""

import dataclasses
import re

import numpy as np
import pytest
from support import studies, sweeps

from jaxmu import data
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.errors import DataError, SettingsError, StoreError
from jaxmu.report import cells
from jaxmu.store import Run
from jaxmu.store.record import Record
from jaxmu.studies import plan
from jaxmu.studies.scores import facts_for, read

CLASS = ("--config.scenario.forget=classes", "--config.scenario.classes=1")


def arguments(folder, *more, methods="ft,euk"):
  one_split = "--config.data.split_per_seed=false"
  return sweeps.arguments(folder, one_split, *more, methods=methods, epochs=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A class forgotten by two methods."""
  made = tmp_path_factory.mktemp("class")
  assert sweeps.call(*arguments(made, *CLASS)) == 0
  return made


@pytest.fixture(scope="module")
def rows(folder):
  return Run.open(sweeps.only_run(folder)).rows().set_index(["method", "seed"]).sort_index()


def test_who_never_saw_a_class_does_not_know_it(rows):
  assert (rows.loc["original"]["FA"] > 0.9).all()
  assert (rows.loc["retrained"]["FA"] == 0).all()
  assert (rows.loc["retrained"]["TA_forgotten"] == 0).all()
  assert (rows.loc["retrained"]["TA_kept"] > 0.8).all()
  assert rows["RetDev"].isna().all()  # ratios to nothing
  assert (rows.loc["retrained"]["gap"] == 0).all()
  assert (rows.loc["original"]["gap"] > 0.1).all()
  ideal = rows["RA"] * (1 - rows["FA"])
  np.testing.assert_allclose(rows["J"], ideal)


def test_its_own_test_samples_are_a_fair_comparison_and_all_of_them_a_trap(folder, rows):
  run = Run.open(sweeps.only_run(folder))
  settings = sweeps.settings(*arguments(folder, *CLASS))
  dataset = data.load_for(settings)
  split = data.splits_for(settings, data.Facts.of(dataset))[0]
  logits = Record(run.path).logits("retrained")
  fair, trapped = [], []
  for k, of_member in enumerate(logits):
    loss = lambda part, of=of_member: cross_entropy(of[None, part], dataset.labels[part])[0]
    fair.append(population_mia(loss(split.control), loss(split.forget)).accuracy)
    trapped.append(population_mia(loss(split.test), loss(split.forget)).accuracy)
    assert fair[k] == rows.loc[("retrained", k), "T_MIA"]
  assert np.mean(trapped) >= 0.85  # retrained models would seem to remember: they know nothing
  assert abs(np.mean(fair) - 0.5) < 0.25


def test_the_report_goes_by_the_gap_and_says_who_is_forgotten(folder):
  text = (sweeps.only_run(folder) / "report.md").read_text()
  assert "- Forgotten: classes pattern 1; compared with test samples of these classes" in text
  names = Run.open(sweeps.only_run(folder)).manifest.dataset.class_names
  assert names == ("pattern 0", "pattern 1", "pattern 2", "pattern 3")  # of confusions as well
  assert "Methods are sorted by Gap." in text
  assert "TA (kept)" in text and "TA (forgotten)" in text
  assert "Retrained models know nothing of what was forgotten" in text
  assert re.search(r"control \d+", text)


def test_what_test_samples_are_taken_for_is_stored_and_drawn(folder, rows):
  run = Run.open(sweeps.only_run(folder))
  table = run.table("confusion")
  assert set(table["method"]) == {"original", "retrained", "ft", "euk"}
  sums = table.groupby(["method", "seed", "class"])["share"].sum()
  np.testing.assert_allclose(sums, 1)
  right = table[(table["class"] == 1) & (table["predicted"] == 1)]
  right = right.set_index(["method", "seed"])["share"].reindex(rows.index, fill_value=0.0)
  np.testing.assert_allclose(right, rows["TA_forgotten"])
  page = (run.path / "report.html").read_text()
  assert "What forgotten classes are taken for" in page and "1 *" in page


def test_it_is_no_cell_of_a_table_by_ratios(folder):
  run = sweeps.only_run(folder)
  with pytest.raises(StoreError, match="x cannot be a cell: cells are compared by RetDev"):
    cells.report({"x": Run.open(run)})


def test_the_plan_knows_the_sizes_and_originals_are_shared(folder, tmp_path):
  units = plan.plan(sweeps.settings(*arguments(folder, *CLASS))).units
  assert {unit.state for unit in units} == {"done"}
  plain = sweeps.settings(*arguments(tmp_path))
  assert "scenario" not in plain.identity()
  assert plain.hash8 != sweeps.settings(*arguments(tmp_path, *CLASS)).hash8


def ranked(path):
  return ("--config.scenario.forget=ranked", f"--config.scenario.scores={path}")


def test_ranks_of_a_file_decide_and_belong_to_the_identity(tmp_path):
  scores = tmp_path / "scores.npy"
  np.save(scores, np.arange(500.0))
  given = arguments(tmp_path, *ranked(scores), methods="ft")
  settings = sweeps.settings(*given)
  dataset = data.load_for(settings)
  split = data.splits_for(settings, facts_for(settings, dataset))[0]
  assert split.forget.min() > 200 and len(split.control) == len(split.forget)
  assert sweeps.call(*given) == 0
  np.save(scores, -np.arange(500.0))
  assert sweeps.settings(*given).hash8 != settings.hash8
  np.save(tmp_path / "moved.npy", np.arange(500.0))
  moved = sweeps.settings(*arguments(tmp_path, *ranked(tmp_path / "moved.npy"), methods="ft"))
  assert moved.hash8 == settings.hash8


def listed(path, **arrays):
  np.savez(path, **arrays)
  return ("--config.scenario.forget=listed", f"--config.scenario.path={path}")


OWN, CONTROL = np.array([399, 3, 77, 150, 151, 152, 8, 9]), np.array([5, 6, 7, 100, 410, 411])


def split_of(settings):
  return data.splits_for(settings, data.Facts.of(data.load_for(settings)))[0]


def test_a_list_with_its_control_through_a_whole_run(tmp_path):
  given = arguments(tmp_path / "runs", *listed(tmp_path / "own.npz", forget=OWN, control=CONTROL))
  settings = sweeps.settings(*given)
  split = split_of(settings)
  np.testing.assert_array_equal(split.forget, np.sort(OWN))
  np.testing.assert_array_equal(split.control, CONTROL)
  trained = np.concatenate([split.train, split.val])
  assert not set(trained) & set(CONTROL)
  assert split.sizes["train"] == 336 and split.sizes["val"] == 60 and split.sizes["test"] == 100
  assert "forget_fraction" not in settings.identity()["data"]
  assert sweeps.call(*given) == 0
  run = Run.open(sweeps.only_run(tmp_path / "runs"))
  assert run.manifest.split.sizes["control"] == 6
  assert run.config["scenario"]["path_sha256"] == settings.scenario.path_sha256
  text = (run.path / "report.md").read_text()
  assert "own.npz; compared with the control samples of the list" in text
  listed(tmp_path / "own.npz", forget=OWN, control=CONTROL[1:])
  assert sweeps.settings(*given).hash8 != settings.hash8
  with pytest.raises(
    DataError, match=r"own\.npz changed while it was in use; run the same command"
  ):
    split_of(settings)
  with pytest.raises(
    SettingsError, match=r"path_sha256 is .*, but the positions in .*own\.npz have"
  ):
    known = settings.scenario.path_sha256
    sweeps.settings(*given, f"--config.scenario.path_sha256={known}")


def test_a_list_alone_is_the_split_of_the_list_without_a_rule(tmp_path):
  given = arguments(tmp_path, *listed(tmp_path / "own.npz", forget=OWN))
  split = split_of(sweeps.settings(*given))
  assert split.control is None
  assert split.sha256 == data.listed_split(np.sort(OWN), 400, 500).sha256


def test_requests_without_a_list_keep_the_name_of_their_run(tmp_path):
  assert "path_sha256" not in sweeps.settings(*arguments(tmp_path, *CLASS)).identity()["scenario"]


def test_ranks_of_a_study_are_those_of_its_attack_on_the_originals(tmp_path):
  study = studies.arguments(tmp_path, methods="ft")
  assert sweeps.call(*study) == 0
  run = Run.open(sweeps.only_run(tmp_path))
  table = run.table("samples")
  own = table[table["method"] == "original"].set_index("sample")["accuracy"]
  dataset = data.load_for(studies.settings(*study))
  scores = read(str(run.path), dataset)
  np.testing.assert_array_equal(scores[own.index], own)
  assert np.isnan(np.delete(scores, own.index)).all()
  other = dataclasses.replace(dataset, labels=(dataset.labels + 1) % dataset.num_classes)
  with pytest.raises(DataError, match=f"SHA-256 {dataset.sha256[:12]}.* and this run reads"):
    read(str(run.path), other)


def test_hidden_retain_samples_are_measured_and_never_read(tmp_path, capsys):
  share = "--config.scenario.retain_share=0.5"
  assert sweeps.call(*arguments(tmp_path, methods="ft,ga")) == 0
  capsys.readouterr()
  assert sweeps.call(*arguments(tmp_path, share, methods="ft,ga")) == 0
  said = capsys.readouterr().err
  assert "retrained: 2 members taken over" in said and "ft: 2 members done" in said
  (run,) = [
    Run.open(path.parent)
    for path in tmp_path.glob("*/config.json")
    if Run.open(path.parent).config["scenario"]["retain_share"] == 0.5
  ]
  rows = run.rows().set_index("method")
  settings = sweeps.settings(*arguments(tmp_path, share, methods="ft,ga"))
  dataset = data.load_for(settings)
  split = data.splits_for(settings, data.Facts.of(dataset))[0]
  logits = Record(run.path).logits("ft")[0]
  right = logits[split.retain].argmax(-1) == dataset.labels[split.retain]
  assert rows.loc["ft"]["RA"].iloc[0] == right.mean()  # over all of it
  assert not run.has("confusion.parquet")  # no class is forgotten
  assert "are taken for" not in (run.path / "report.html").read_text()
  passes = rows["passes"].groupby(level=0).first()
  assert passes["ft"] < 0.6 * 12 * 3 * len(split.retain)
  assert "- Methods read: 50 % of the retain set" in (run.path / "report.md").read_text()
  assert sweeps.call(*arguments(tmp_path, "--config.scenario.retain_share=0", methods="ga")) == 0


@pytest.mark.parametrize(
  ("overrides", "words"),
  [
    (("--config.scenario.forget=classes",), "config.scenario.classes is empty"),
    (("--config.scenario.forget=groups",), "config.scenario.groups is 0"),
    (("--config.scenario.forget=ranked",), "config.scenario.scores is empty"),
    (ranked("/nowhere.npy"), "scores /nowhere.npy do not exist"),
    (ranked("/nowhere"), "/nowhere"),
    ((*ranked("a.npy"), "--config.scenario.take=most"), "unknown 'most'"),
    ((f"--config.scenario.scores_sha256={'0' * 64}", *CLASS), "scores_sha256 is given without"),
    (("--config.scenario.forget=listed",), "config.scenario.path is empty; expected the file of"),
    (
      ("--config.scenario.forget=listed", "--config.scenario.path=/no.npz"),
      "no.npz does not exist",
    ),
    (("--config.scenario.path=a.npz",), "path is a.npz, which rule 'random' does not read"),
    ((f"--config.scenario.path_sha256={'0' * 64}",), "path_sha256 is given without a file"),
    (
      ("--config.scenario.forget=listed", "--config.scenario.path=a", "--config.data.forget=a.txt"),
      "config.data.forget names a list, and config.scenario.forget is 'listed'",
    ),
    (("--config.scenario.classes=1",), "classes is 1, which rule 'random' does not read"),
    (("--config.scenario.forget=class",), "did you mean 'classes'?"),
    ((*CLASS, "--config.scenario.classes=7"), "has '7'; expected numbers from 0 to 3"),
    ((*CLASS, "--config.scenario.share=0"), "config.scenario.share is 0"),
    ((*CLASS, "--config.scenario.share=0.05"), "the forget set has 5 samples"),
    (("--config.scenario.retain_share=0",), "is 0, and ft, euk cannot do without the retain set"),
    (
      (*CLASS, "--config.scenario.classes=each", "--config.scenario.draws=3"),
      "config.scenario.classes is 'each', a draw for each class, and config.scenario.draws 3",
    ),
    (("--config.scenario.rounds=9",), "the forget set has 3 samples"),
    (
      (*CLASS, "--config.scenario.classes=each", "--config.study=ulira", "--config.seeds=0"),
      "config.scenario.classes is 'each', which only a benchmark reads",
    ),
    (("--config.scenario.draws=2", "--config.study=search"), "draws is 2, which only a benchmark"),
    (
      ("--config.scenario.rounds=2", "--config.study=search"),
      "rounds is 2, which only a benchmark",
    ),
    (
      ("--config.scenario.rounds=2", "--config.unlearning_seeds=2"),
      "config.scenario.rounds is 2 and config.unlearning_seeds 2; expected one of the two to be 1",
    ),
    (
      ("--config.scenario.draws=2", "--config.data.forget=listed.txt"),
      "config.scenario.draws is 2, but config.data.forget names the one set",
    ),
    (
      ("--config.scenario.forget=groups", "--config.scenario.groups=2"),
      "but the data set has no groups",
    ),
  ],
)
def test_mistakes_are_one_line_and_nothing_is_written(overrides, words, tmp_path, capsys):
  assert sweeps.call(*arguments(tmp_path, *overrides)) == 2
  said = capsys.readouterr().err
  assert words in said and said.count("\n") == 1
  assert not list(tmp_path.iterdir())
