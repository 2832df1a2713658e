"""A search for hyper-parameters: what is drawn, what is chosen, and that batches change nothing."""

import dataclasses
import json
import math
import shutil
import warnings

import numpy as np
import optuna
import pandas as pd
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.audit import member_row
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.audit.formulas import search_objective, search_score
from jaxmu.errors import SettingsError, StoreError
from jaxmu.report.search import compose, search_figures
from jaxmu.report.search.search_data import from_run
from jaxmu.search import choice
from jaxmu.search import sampler as search_sampler
from jaxmu.search.choice import Trial
from jaxmu.search.sampler import Search
from jaxmu.search.space import Space
from jaxmu.store import Run, tuned
from jaxmu.store.record import Record
from jaxmu.studies import plan
from jaxmu.studies.search import search_tables
from jaxmu.unlearning import METHODS


def distance(hp):
  """Stand in for a model: four values that depend on what was drawn."""
  rate, decay = math.log10(hp["learning_rate"]), math.log10(hp["weight_decay"])
  return np.array([abs(rate + 2), abs(decay + 3), hp["num_epochs"] / 37, hp["batch_size"] / 256])


def drawn(method="ft", sampler="nsga3", seed=1, batch=10, rounds=(10, 10)):
  search, found = Search(Space(METHODS[method], 182), sampler, seed, batch), []
  for count in rounds:
    asked = search.ask(count)
    search.tell([distance(hp) for hp in asked])
    found += asked
  return found


def test_two_generations_are_those_of_optuna_run_one_by_one():
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    sampler = optuna.samplers.NSGAIIISampler(seed=1, population_size=50)
  study = optuna.create_study(directions=["minimize"] * 4, sampler=sampler)

  def objective(trial):
    trial.suggest_float("momentum", 0.9, 0.9)
    hp = {
      "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
      "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
      "batch_size": trial.suggest_categorical("batch_size", (64, 128, 256)),
      "num_epochs": trial.suggest_int("num_epochs", 1, 37),
    }
    return distance(hp).tolist()

  study.optimize(objective, n_trials=100)
  ours = drawn(batch=50, rounds=(50, 50))
  assert [{k: hp[k] for k in trial.params} for trial, hp in zip(study.trials, ours)] == [
    trial.params for trial in study.trials
  ]
  children = [trial.params for trial in study.trials[50:]]
  assert children[0] not in [trial.params for trial in study.trials[:50]]  # they were bred


@pytest.mark.parametrize("sampler", ["nsga3", "tpe", "random"])
def test_a_search_made_anew_asks_the_same(sampler, monkeypatch):
  """Also where what others have drawn first is looked up, and drawn later."""
  monkeypatch.setattr(search_sampler, "_BEGINNINGS", {})
  assert drawn(sampler=sampler) == drawn(sampler=sampler)
  assert drawn(sampler=sampler)[:10] == drawn(sampler=sampler, rounds=(10,))
  assert drawn(sampler=sampler) != drawn(sampler=sampler, seed=2)


@pytest.mark.parametrize("ranges", ["reference", "amended"])
@pytest.mark.parametrize("name", METHODS)
def test_every_draw_is_one_that_its_method_takes(name, ranges):
  space = Space(METHODS[name], 50, ranges)
  for hp in Search(space, "random", 0, 50).ask(40):
    assert METHODS[name].hyperparameters(hp) == hp
    for key, each in space.distributions.items():
      value = hp[key][0] if isinstance(hp[key], tuple) else hp[key]
      assert value in each.choices if each.choices else value <= max(space.high(key), 1e-6)
      if each.at_most:
        assert value <= hp[each.at_most]
  assert not {key for key, each in METHODS[name].hyper.items() if each.dead} & set(space.drawn)


def test_a_head_start_is_tried_first_and_cut_to_the_ranges():
  given = {"learning_rate": 0.5, "weight_decay": 1e-3, "batch_size": 96, "num_epochs": 99}
  search = Search(Space(METHODS["ft"], 50), "nsga3", 1, 10)
  search.first([given])
  first, second = search.ask(2)
  assert (first["learning_rate"], first["weight_decay"]) == (0.1, 1e-3)
  assert (first["num_epochs"], first["batch_size"]) == (10, 64)
  assert second == drawn(rounds=(2,))[0] | {"num_epochs": second["num_epochs"]}


@pytest.mark.parametrize(("epochs", "longest"), [(182, 37), (91, 19), (50, 10), (1, 1)])
def test_the_longest_unlearning_is_a_fifth_of_training(epochs, longest):
  assert Space(METHODS["ft"], epochs).high("num_epochs") == longest


def test_a_temperature_of_nothing_is_what_the_method_can_divide_by():
  space = Space(METHODS["kde"], 50, "reference")
  (values,) = Search(space, "random", 0, 1).ask(1)
  assert space.complete(values | {"temperature": 0.0})["temperature"] == 1e-6


def trial(score, seed=0, number=0, **hp):
  return Trial({"seed": seed, "trial": number}, {"number": number} | hp, np.array([score, 0, 0, 0]))


def test_the_reference_chooses_the_least_of_all_and_never_a_failure():
  trials = [trial(math.inf, 0, 0), trial(0.3, 0, 1), trial(0.2, 1, 2), trial(0.2, 1, 3)]
  assert choice.reference(trials)["number"] == 2  # the earlier one of equals
  assert choice.reference(trials[:1]) is None
  assert [t.hp["number"] for t in choice.candidates(trials, 1)] == [1, 2]
  same = [trial(0.1, 0, 5), trial(0.1, 1, 5)]
  assert len(choice.candidates(same, 3)) == 1


def test_the_robust_rule_takes_the_least_mean_over_seeds():
  def again(found, number, *scores):
    return [
      Trial({"seed": s, "found": found, "trial": number}, {"n": number}, np.array([v, 0, 0, 0]))
      for s, v in enumerate(scores)
    ]

  lucky, steady, failing = again(0, 1, 0.0, 0.9), again(1, 2, 0.2, 0.3), again(0, 3, 0.0, math.inf)
  assert choice.robust([*lucky, *steady, *failing])["n"] == 2
  assert choice.robust(failing) is None


SEARCH = (
  "--config.study=search",
  "--config.search.trials=6",
  "--config.search.batch=3",
  "--config.search.robust=1",
  "--config.search.robust_seeds=,",
  "--config.search.check_seeds=2,3",
)


def arguments(folder, *overrides, methods="ft,iu"):
  return sweeps.arguments(folder, *SEARCH, *overrides, methods=methods, epochs=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """One finished search of two methods."""
  made = tmp_path_factory.mktemp("search")
  assert sweeps.call(*arguments(made)) == 0
  return made


def tables(folder):
  run = Run.open(sweeps.only_run(folder))
  return {name: run.table(name) for name in ("trials", "again", "checks")}


def test_what_is_measured_of_a_model_is_what_its_logits_say(folder):
  record = Record(sweeps.only_run(folder))
  settings = sweeps.settings(*arguments(folder))
  dataset = data.load_for(settings)
  split = data.splits_for(settings, data.Facts.of(dataset))[0]
  rows = record.rows("retrained")
  logits = record.logits("retrained")[0]
  losses = [
    cross_entropy(logits[None, part], dataset.labels[part])[0] for part in (split.val, split.forget)
  ]
  (found,) = member_row.validation(logits[None], dataset.labels, [split])
  assert found == population_mia(*losses).accuracy
  table = tables(folder)["trials"]
  one = table.iloc[0]
  retrained = next(row for row in rows if row["seed"] == one["seed"])
  values = search_objective(one, retrained)
  np.testing.assert_array_equal(values, one[["v1", "v2", "v3", "v4"]].to_numpy(float))
  assert one["S"] == search_score(values)


def test_every_trial_is_there_once_and_both_seeds_draw_their_own(folder):
  table = tables(folder)["trials"]
  places = table[["method", "seed", "trial"]]
  assert len(table) == 2 * 2 * 6 and not places.duplicated().any()
  ft = table[table["method"] == "ft"]
  assert (
    set(ft[ft["seed"] == 0]["hyperparameters"]) & set(ft[ft["seed"] == 1]["hyperparameters"])
    == set()
  )
  assert ft["hyperparameters"].map(lambda text: json.loads(text)["num_epochs"]).max() <= 2


def test_trials_one_by_one_give_the_same_bits(folder, tmp_path):
  whole = tables(folder)["trials"]
  alone = arguments(tmp_path, "--config.population.members_at_once=1", "--only-units")
  assert sweeps.call(*alone) == 0
  assert sweeps.call(*arguments(tmp_path, "--config.population.members_at_once=1")) == 0
  pd.testing.assert_frame_equal(tables(tmp_path)["trials"], whole, check_exact=True)


def test_what_is_lost_is_trained_again_and_a_longer_search_goes_on(folder, tmp_path):
  whole = tables(folder)
  copied = shutil.copytree(folder, tmp_path / "copied")
  record = Record(sweeps.only_run(copied))
  for stage in ("iu.1", "ft.2"):
    for group in record.groups(stage):
      record.forget(record.folder(stage, group.group))
  assert sweeps.call(*arguments(copied)) == 0
  for name, table in tables(copied).items():
    pd.testing.assert_frame_equal(table, whole[name], check_exact=True)
  assert sweeps.call(*arguments(copied, "--config.search.trials=9")) == 0
  longer = tables(copied)["trials"]
  assert len(longer) == 2 * 2 * 9
  first = longer[longer["trial"] < 6].reset_index(drop=True)
  pd.testing.assert_frame_equal(first, whole["trials"], check_exact=True)


def test_the_plan_knows_how_many_trials_there_will_be(folder, tmp_path):
  units = plan.plan(sweeps.settings(*arguments(tmp_path))).units
  members = {}
  for unit in units:
    members[unit.stage] = members.get(unit.stage, 0) + len(unit.members)
  assert members["original"] == members["retrained"] == 4
  assert members["ft.1"] == members["ft.2"] == 6
  assert members["ft.given"] == members["iu.robust"] == 2
  assert {unit.state for unit in plan.plan(sweeps.settings(*arguments(folder))).units} == {"done"}


def test_units_one_by_one_as_far_as_they_are_known(tmp_path, capsys):
  """What a cluster does: a unit a job, the later ones when the earlier ones are there."""
  given = arguments(tmp_path, "--config.search.check_seeds=,", methods="iu")
  assert sweeps.call(*given, "--prepare") == 0
  worked = []
  while left := [u for u in plan.plan(sweeps.settings(*given)).units if u.state == "to do"]:
    assert sweeps.call(*given, f"--unit={left[0].key}") == 0
    worked.append(left[0].stage)
    later = [unit.key for unit in left if unit.stage == "iu.2"]
    if worked == ["original"]:
      capsys.readouterr()
      assert sweeps.call(*given, f"--unit={later[0]}") == 69
      assert "what comes after stage 'retrained' depends on it" in capsys.readouterr().err
  assert list(dict.fromkeys(worked)) == ["original", "retrained", "iu.1", "iu.2", "iu.again"]


def test_trials_that_draw_the_same_are_no_trouble(folder, tmp_path, monkeypatch, capsys):
  copied = shutil.copytree(folder, tmp_path / "copied")
  same = Search(Space(METHODS["ft"], 8), "random", 0, 1).ask(1)[0]
  monkeypatch.setattr(Search, "ask", lambda self, count: [same] * count)
  monkeypatch.setattr(Search, "tell", lambda self, values: None)
  given = arguments(copied, methods="ft")
  assert sweeps.call(*given) == 0
  table = tables(copied)["trials"]
  assert len(table) == 12 and table.groupby("seed")["S"].nunique().tolist() == [2, 2]  # batches
  assert {unit.state for unit in plan.plan(sweeps.settings(*given)).units} == {"done"}
  capsys.readouterr()
  assert sweeps.call(*given) == 0
  assert "members done" not in capsys.readouterr().err


def test_what_was_chosen_is_used_by_a_benchmark(folder, tmp_path):
  run = sweeps.only_run(folder)
  found = tuned.read(str(run), "synthetic", "cnn")
  chosen = sweeps.settings(*sweeps.arguments(tmp_path, f"--config.tuned={run}", methods="ft"))
  # What a config says itself goes first: the tiny benchmark gives epochs, and cnn_digits a rate.
  assert chosen.unlearning["ft"]["weight_decay"] == found["ft"]["weight_decay"] != 5e-4
  assert chosen.unlearning["ft"]["num_epochs"] == 3
  assert chosen.unlearning["iu"]["alpha"] == 4.0 != found["iu"]["alpha"]
  other = tuned.read(f"{run}:reference", "synthetic", "cnn")["ft"]
  table = tables(folder)["trials"].query("method == 'ft'")
  assert other == json.loads(table.sort_values("S", kind="stable")["hyperparameters"].iloc[0])


def test_a_result_that_was_changed_is_not_used(folder, tmp_path):
  run = sweeps.only_run(shutil.copytree(folder, tmp_path / "copied"))
  path = run / "tuned-ft.json"
  path.write_text(path.read_text().replace('"batch_size": 64', '"batch_size": 65', 1))
  changed = path.read_text() != (sweeps.only_run(folder) / "tuned-ft.json").read_text()
  path.write_text(path.read_text() + ("" if changed else " "))
  with pytest.raises(StoreError, match=r"tuned-ft\.json is not what this run wrote"):
    tuned.read(str(run), "synthetic", "cnn")
  (run / "results.json").unlink()
  with pytest.raises(SettingsError, match="no folder with tuned hyper-parameters"):
    tuned.read(str(run), "synthetic", "cnn")


def test_models_that_fail_on_fresh_seeds_are_told(folder):
  data = from_run(Run.open(sweeps.only_run(folder)))
  warnings_of = lambda one: next(s for s in compose(one).sections if s.name == "warnings")
  assert "on fresh seeds" not in str(warnings_of(data))
  checks = data.checks.copy()
  lost = (checks["method"] == "ft") & (checks["choice"] == "robust") & (checks["seed"] == 3)
  checks.loc[lost, "S"] = math.inf
  failing = dataclasses.replace(data, checks=checks)
  warned = warnings_of(failing)
  assert "FT, robust: models failed on fresh seeds" in str(warned)
  assert "1 of 2 turned non-finite. The mean S of the others is too good." in str(warned)
  assert failing.score("ft", "robust").n == 1


def test_what_is_told_of_a_check_counts_the_models_that_failed():
  def check(score, seed):
    return Trial({"seed": seed}, {}, np.array([score, 0, 0, 0]))

  told = search_tables.checked([check(0.1, 2), check(math.inf, 3), check(0.3, 4)])
  assert (told.n, told.failed) == (2, 1)
  assert told.value == pytest.approx(0.2)


@pytest.mark.parametrize(
  ("override", "words"),
  [
    ("--config.tuned=robust", "no hyper-parameters are shipped for synthetic with cnn"),
    ("--config.tuned=/nowhere", "is no folder with tuned hyper-parameters"),
    ("--config.tuned=/nowhere:best", "expected reference, robust, or a search's run directory"),
    ("--config.search.check_seeds=1", "config.search.check_seeds has seed 1"),
    ("--config.search.splits=3", "config.seeds has 2 seeds, but all models of a U-LiRA study"),
    ("--config.search.sampler=nsga", "did you mean 'nsga3'?"),
    ("--config.search.trials=0", "config.search.trials is 0"),
    ("--config.search.batch=x", "expected a whole number"),
  ],
)
def test_mistakes_are_one_line(override, words, tmp_path, capsys):
  assert sweeps.call(*arguments(tmp_path, override)) == 2
  said = capsys.readouterr().err
  assert words in said and said.count("\n") == 1
  assert not list(tmp_path.iterdir())


def test_shadow_models_have_searches_of_their_own(tmp_path, capsys):
  shadows = ("--config.search.splits=2", "--config.seeds=5", "--config.search.check_seeds=,")
  assert sweeps.call(*arguments(tmp_path, *shadows, methods="ft")) == 0
  run = sweeps.only_run(tmp_path)
  table = Run.open(run).table("trials")
  assert table.groupby("split")["trial"].apply(list).tolist() == [list(range(6))] * 2
  # As in the reference, all splits draw the same configurations at first.
  first = table[table["trial"] < 3]
  assert first.groupby("trial")["hyperparameters"].nunique().tolist() == [1, 1, 1]
  record = Record(run)
  leaf = lambda split: record.variables("original", {"split": split})["params"]["head"]["kernel"]
  assert not np.array_equal(leaf(0), leaf(1))  # other samples
  assert "on splits 0, 1" in capsys.readouterr().out


def test_its_report_says_what_the_search_is_worth(folder):
  run = sweeps.only_run(folder)
  text = (run / "report.md").read_text()
  checks = tables(folder)["checks"]
  for name in ("ft", "iu"):
    own = checks[(checks["method"] == name) & (checks["choice"] == "robust")]
    assert f"{own['S'].mean():.3f} ±" in text
  assert "seeds that were not searched" in text and "promised too much" in text
  page = (run / "report.html").read_text()
  assert 'id="fig-trials-ft-title"' in page
  assert 'id="fig-parallel-ft-title"' in page


@pytest.mark.parametrize(
  ("sizes", "worth"),
  [  # 3 sqrt(2.4 / 2n) of the smaller set
    ({"forget": 170, "val": 300}, "0.252 of an accuracy"),
    ({"forget": 4250, "val": 120}, "0.300 of an accuracy"),
    ({"forget": 4250, "val": 7500, "val_control": 120}, "0.300 of an accuracy"),
    ({"forget": 1081, "val": 1081}, ""),
    ({"forget": 1079, "val": 1081}, "0.100 of an accuracy"),
  ],
)
def test_few_samples_are_told_by_what_chance_weighs_in_accuracy(sizes, worth, folder):
  found = from_run(Run.open(sweeps.only_run(folder)))
  split = dataclasses.replace(found.manifest.split, sizes=found.manifest.split.sizes | sizes)
  found = dataclasses.replace(found, manifest=dataclasses.replace(found.manifest, split=split))
  warnings_ = [
    block for s in compose(found).sections if s.title == "Warnings" for block in s.blocks
  ]
  texts = [c.text for block in warnings_ for c in block.cautions if c.code == "few-samples"]
  assert len(texts) == bool(worth) and all(worth in text for text in texts)


def test_the_best_tenth_of_the_ended_trials_is_dark_in_the_figure_of_lines(folder):
  found = from_run(Run.open(sweeps.only_run(folder)))
  rates, scores = np.geomspace(1e-4, 1e-1, 30), np.linspace(0.5, 0.1, 30)
  hp = [json.dumps({"learning_rate": r, "num_epochs": [3], "momentum": 0.9}) for r in rates]
  given = {"method": "ft", "seed": 0, "trial": range(30), "S": scores, "hyperparameters": hp}
  trials = pd.DataFrame(given | {"stopped": [0] * 29 + [2]})  # the best one was not ended
  plot = search_figures._parallel(dataclasses.replace(found, trials=trials), "ft")
  assert [axis.label for axis in plot.axes] == ["learning rate", "S"]  # what varies
  assert [axis.log for axis in plot.axes] == [True, False]
  np.testing.assert_array_equal(plot.values[plot.best][:, 1], scores[28:25:-1])
  assert len(plot.values) == 29
  few = dataclasses.replace(found, trials=trials[:4])
  assert search_figures._parallel(few, "ft") is None
