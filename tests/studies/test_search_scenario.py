"""A search for a request that is no random share: its trials, its leaks, and what is made of it."""

import json

import numpy as np
import pandas as pd
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.audit import member_row
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.store import Run
from jaxmu.store.record import Record
from jaxmu.studies import plan

CLASS = ("--config.scenario.forget=classes", "--config.scenario.classes=1")
RULES = {
  "groups": ("--config.scenario.groups=3",),
  "ranked": ("--config.scenario.scores=scores.npy",),
  "listed": ("--config.scenario.path=listed.npz",),
}
ONE = ("--config.search.sampler=fixed", "--config.search.check_seeds=,", "--config.seeds=0")
SHADOWS = ("--config.search.splits=2", "--config.seeds=0", "--config.search.check_seeds=,")
TRAINED = 400


def write(path, seed):
  """Write images of four classes by twenty-four persons; the seed is that of the test part."""
  rng, own = np.random.default_rng(0), np.random.default_rng(seed)
  labels, groups = np.tile(np.arange(4), 130), np.repeat(np.arange(26), 20)
  patterns = rng.integers(0, 256, (4, 8, 8))
  noise = rng.normal(0, 40, (520, 8, 8))
  if seed:
    labels[TRAINED:] = own.permutation(labels[TRAINED:])
    noise[TRAINED:] = own.normal(0, 90, (120, 8, 8))
  images = np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8)
  np.savez(path, images=images, labels=labels, num_train=TRAINED, groups=groups)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """The data, scores, and a list."""
  made = tmp_path_factory.mktemp("data")
  write(made / "data.npz", 0)
  np.save(made / "scores.npy", np.random.default_rng(1).normal(size=TRAINED))
  np.savez(made / "listed.npz", forget=np.arange(0, 40, 2), control=np.arange(1, 40, 2))
  return made


def arguments(output, folder, *overrides, methods="ft", study="search", file="data.npz"):
  return sweeps.arguments(
    output,
    f"--config.study={study}",
    "--config.dataset=npz",
    f"--config.data.path={folder / file}",
    "--config.data.split_per_seed=false",
    "--config.data.random_labels=0",
    "--config.data.val_fraction=0.2",
    "--config.search.trials=4",
    "--config.search.batch=2",
    "--config.search.robust=1",
    "--config.search.robust_seeds=,",
    "--config.search.check_seeds=2",
    *overrides,
    methods=methods,
    epochs=8,
  )


def of_rule(folder, rule):
  given = (f"--config.scenario.forget={rule}", *RULES[rule])
  return tuple(
    one.replace("=scores", f"={folder}/scores").replace("=list", f"={folder}/list")
    if ".np" in one
    else one
    for one in given
  )


@pytest.fixture(scope="module")
def searched(folder, tmp_path_factory):
  """One finished search by class."""
  made = tmp_path_factory.mktemp("search")
  assert sweeps.call(*arguments(made, folder, *CLASS)) == 0
  return made


def test_a_search_by_class_ends_with_finite_numbers(searched):
  run = Run.open(sweeps.only_run(searched))
  table = run.table("trials")
  assert len(table) == 2 * 4 and table["finite"].all()
  assert np.isfinite(table[["S", "v1", "v2", "v3", "v4", "RA", "FA", "VA", "V_MIA"]]).all(axis=None)
  retrained = Record(run.path).rows("retrained")
  assert [row["FA"] for row in retrained] == [0, 0, 0]
  # Differences stay meaningful where ratios to nothing would not be.
  np.testing.assert_allclose(table["v2"], table["FA"] / 3)
  checks = run.table("checks").set_index("choice")
  assert len(checks) == 3 and checks.loc["given", "FA"] < 0.1 < 0.9 < table["FA"].max()
  assert checks.loc["given", "S"] < table["S"].max()
  text = (run.path / "report.md").read_text()
  words = "Forgotten: classes 1; compared with validation samples of these classes"
  assert words in text and " nan" not in text
  assert (
    "the validation control (validation samples of these classes)"
    in (run.path / "report.html").read_text()
  )


def test_validation_samples_of_the_class_are_fair_and_all_of_them_a_trap(searched, folder):
  settings = sweeps.settings(*arguments(searched, folder, *CLASS))
  dataset = data.load_for(settings)
  split = data.searched_splits_for(settings, data.Facts.of(dataset))[0]
  assert set(dataset.labels[split.val_control]) == {1}
  logits = Record(sweeps.only_run(searched)).logits("retrained")
  fair = member_row.validation(logits, dataset.labels, [split] * len(logits))
  for of, found in zip(logits, fair):
    loss = lambda part, of=of: cross_entropy(of[None, part], dataset.labels[part])[0]
    assert found == population_mia(loss(split.val_control), loss(split.forget)).accuracy
    assert population_mia(loss(split.val), loss(split.forget)).accuracy > 0.85
  assert abs(np.mean(fair) - 0.5) < 0.2


def test_test_samples_decide_nothing(searched, folder, tmp_path):
  write(folder / "other.npz", 1)
  assert sweeps.call(*arguments(tmp_path, folder, *CLASS, file="other.npz")) == 0
  here, there = (Run.open(sweeps.only_run(made)) for made in (searched, tmp_path))
  rows = [[row["TA"] for row in Record(run.path).rows("ft.1")] for run in (here, there)]
  assert rows[0] != rows[1]  # the change is there to be seen
  for name in ("trials", "again", "checks"):
    pd.testing.assert_frame_equal(here.table(name), there.table(name), check_exact=True)
  assert chosen(here) == chosen(there)


def chosen(run):
  return json.loads((run.path / "tuned-ft.json").read_text())["hyperparameters"]


def test_a_benchmark_of_the_same_request_takes_what_was_found(searched, folder, tmp_path, capsys):
  run = sweeps.only_run(searched)
  given = (*CLASS, f"--config.tuned={run}", f"--config.output_dir={searched}")
  asked = arguments(tmp_path, folder, *given, study="benchmark")
  capsys.readouterr()
  assert sweeps.call(*asked) == 0
  said = capsys.readouterr().err
  assert "original: 2 members taken over" in said and "retrained: 2 members taken over" in said
  settings = sweeps.settings(*asked)
  found = chosen(Run.open(run))["robust"]
  assert settings.unlearning["ft"]["weight_decay"] == pytest.approx(found["weight_decay"])
  (made,) = (path for path in searched.glob("cnn_digits-*") if path != run)
  rows = Run.open(made).rows().set_index("method")
  assert np.isfinite(rows.loc["ft"][["FA", "T_MIA", "gap"]]).all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_search_by_another_rule_ends(rule, folder, tmp_path):
  given = (*of_rule(folder, rule), *ONE, "--config.scenario.retain_share=0.5")
  assert sweeps.call(*arguments(tmp_path, folder, *given, methods="ft")) == 0
  table = Run.open(sweeps.only_run(tmp_path)).table("trials")
  assert np.isfinite(table[["S", "v1", "v2", "v3", "v4"]]).all(axis=None)


def test_sets_of_different_sizes_share_programs_and_trials_read_what_they_may(folder, tmp_path):
  """Every seed draws its split, so that each forgets another number of a class."""
  given = (*CLASS, "--config.data.split_per_seed=true", "--config.search.sampler=fixed")
  given = (*given, "--config.search.check_seeds=,", "--config.scenario.retain_share=0.5")
  asked = arguments(tmp_path, folder, *given)
  assert sweeps.call(*asked) == 0
  settings = sweeps.settings(*asked)
  facts = data.Facts.of(data.load_for(settings))
  splits = data.searched_splits_for(settings, facts)
  assert len({len(split.forget) for split in splits}) == 2
  table = Run.open(sweeps.only_run(tmp_path)).table("trials").set_index("seed")
  assert np.isfinite(table["S"]).all()
  epochs = settings.unlearning["ft"]["num_epochs"]
  for seed, split in zip(settings.seeds, splits):
    assert table.loc[seed, "passes"] == 3 * epochs * round(0.5 * len(split.retain))


def test_the_plan_says_how_large_the_validation_control_is(tmp_path):
  given = arguments(tmp_path, tmp_path, "--config.dataset=identities", "--config.data.path=")
  persons = ("--config.scenario.forget=groups", "--config.scenario.groups=8")
  said = "\n".join(plan.plan(sweeps.settings(*given, *persons)).about)
  assert "retain 766, forget 76, validation 231, validation control 79, test 288 images" in said


def test_a_request_belongs_to_the_hash_of_a_search_and_the_absence_of_one_does_not(
  folder, tmp_path
):
  plain, by_class = (sweeps.settings(*arguments(tmp_path, folder, *o)) for o in ((), CLASS))
  assert "scenario" not in plain.identity() and "scenario" in by_class.identity()
  assert plain.hash8 != by_class.hash8


@pytest.mark.parametrize(
  ("overrides", "words"),
  [
    ((*CLASS, "--config.scenario.classes=each"), "classes is 'each', which only a benchmark reads"),
    (
      (*CLASS, "--config.scenario.draws=2"),
      "draws is 2, which only a benchmark reads, as models of",
    ),
    (("--config.scenario.rounds=2",), "rounds is 2, which only a benchmark reads"),
    (("--config.scenario.retain_share=0",), "is 0, and ft cannot do without the retain set"),
    (
      (*CLASS, "--config.data.val_fraction=0.04"),
      "the validation control set has 4 samples, the attack needs at least 6",
    ),
    (
      ("--config.scenario.forget=groups", "--config.scenario.groups=11"),
      "groups is 11 and as many as validation control, but the training part has 20",
    ),
    (
      (*CLASS, *SHADOWS, "--config.scenario.retain_share=0.5"),
      "retain_share 0.5; expected random or classes or groups, and 1, as shadow models take no",
    ),
  ],
)
def test_what_is_not_sound_is_refused_in_one_line(overrides, words, folder, tmp_path, capsys):
  assert sweeps.call(*arguments(tmp_path, folder, *overrides)) == 2
  said = capsys.readouterr().err
  assert words in said and said.count("\n") == 1
  assert not list(tmp_path.iterdir())
