"""Forgetting classes and persons, from the config to the report."""

import re

import numpy as np
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.store import Run
from jaxmu.store.record import Record
from jaxmu.studies import plan

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
  assert "- Forgotten: classes 1; compared with test samples of these classes" in text
  assert "Methods are sorted by Gap." in text
  assert "TA (kept)" in text and "TA (forgotten)" in text
  assert "Retrained models know nothing of what was forgotten" in text
  assert re.search(r"control \d+", text)


def test_the_plan_knows_the_sizes_and_originals_are_shared(folder, tmp_path):
  units = plan.plan(sweeps.settings(*arguments(folder, *CLASS))).units
  assert {unit.state for unit in units} == {"done"}
  plain = sweeps.settings(*arguments(tmp_path))
  assert "scenario" not in plain.identity()
  assert plain.hash8 != sweeps.settings(*arguments(tmp_path, *CLASS)).hash8


@pytest.mark.parametrize(
  ("overrides", "words"),
  [
    (("--config.scenario.forget=classes",), "config.scenario.classes is empty"),
    (("--config.scenario.forget=groups",), "config.scenario.groups is 0"),
    (("--config.scenario.classes=1",), "classes is 1, which rule 'random' does not read"),
    (("--config.scenario.forget=class",), "did you mean 'classes'?"),
    ((*CLASS, "--config.scenario.classes=7"), "has '7'; expected numbers from 0 to 3"),
    ((*CLASS, "--config.scenario.share=0"), "config.scenario.share is 0"),
    ((*CLASS, "--config.scenario.share=0.05"), "the forget set has 5 samples"),
    ((*CLASS, "--config.study=search"), "which only a benchmark reads so far"),
    (
      (*CLASS, "--config.data.split_per_seed=true"),
      "config.data.split_per_seed draws sets of other",
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
