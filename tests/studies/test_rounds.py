"""Several forget sets of a seed, and requests that come one after another."""

import jax
import numpy as np
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.execution import programs
from jaxmu.store import Run, inspection
from jaxmu.store.record import Record
from jaxmu.studies import plan
from jaxmu.studies.benchmark.cases import cases
from jaxmu.studies.scores import facts_for

ROUNDS, DRAWS = "--config.scenario.rounds=3", "--config.scenario.draws=2"
EACH = ("--config.scenario.forget=classes", "--config.scenario.classes=each")


def arguments(folder, *more):
  scenario = ("--config.data.split_per_seed=false", "--config.data.forget_fraction=0.2", *more)
  return sweeps.arguments(folder, *scenario, methods="ft")


def requested(argv):
  settings = sweeps.settings(*argv)
  dataset = data.load_for(settings)
  return dataset, cases(data.requests_for(settings, facts_for(settings, dataset)))


def equal(one, other):
  same = lambda a, b: np.array_equal(a, b, equal_nan=True)
  return all(jax.tree.leaves(jax.tree.map(same, one, other)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Make two forget sets of each of two seeds, each in three rounds."""
  made = tmp_path_factory.mktemp("rounds")
  assert sweeps.call(*arguments(made, ROUNDS, DRAWS)) == 0
  return made


@pytest.fixture(scope="module")
def run(folder):
  return sweeps.only_run(folder)


@pytest.fixture(scope="module")
def rows(run):
  rows = Run.open(run).rows()
  return rows.set_index(["method", "round", "seed", "draw"]).sort_index()


def test_every_model_has_a_row_after_every_round(rows):
  names = ("original", "retrained", "ft")
  expected = {(n, r, s, d) for n in names for r in (1, 2, 3) for s in (0, 1) for d in (0, 1)}
  assert set(rows.index) == expected
  assert rows["finite"].all()
  first = rows.loc[(slice(None), 1), :]
  np.testing.assert_array_equal(first["FA_all"], first["FA"])
  np.testing.assert_array_equal(first["T_MIA_first"], first["T_MIA"])


def test_a_round_retains_what_no_request_has_named_yet(folder):
  _, found = requested(arguments(folder, ROUNDS, DRAWS))
  for case in found:
    gone = case.rounds[0].forget[:0]
    for split in case.rounds:
      np.testing.assert_array_equal(split.earlier, gone)
      gone = np.concatenate([gone, split.forget])
      assert not np.intersect1d(split.retain, gone).size
      np.testing.assert_array_equal(
        np.sort(split.train), np.setdiff1d(case.whole.train, split.earlier)
      )
      np.testing.assert_array_equal(np.sort(np.r_[split.retain, gone]), np.sort(case.whole.train))
    np.testing.assert_array_equal(np.sort(gone), np.sort(case.whole.forget))


def test_forget_sets_are_drawn_apart_and_share_the_original_of_their_seed(folder, run):
  _, found = requested(arguments(folder, ROUNDS, DRAWS))
  one, other = found[0].whole, found[1].whole
  assert len(one.forget) == len(other.forget)
  assert len(np.intersect1d(one.forget, other.forget)) < len(one.forget)
  record = Record(run)
  assert [dict(m.at) for m in record.members("original")] == [
    {"seed": 0, "draw": 0},
    {"seed": 1, "draw": 0},
  ]
  assert len(record.members("retrained")) == 12
  assert all(len(record.members(f"ft@{k}")) == 4 for k in (1, 2, 3))


def test_measures_of_a_round_are_those_of_its_logits(folder, run, rows):
  dataset, found = requested(arguments(folder, ROUNDS, DRAWS))
  record = Record(run)
  for case in found:
    (logits,) = record.logits("ft@3", [case.of_round(3)])
    right, split = logits.argmax(-1) == dataset.labels, case.rounds[2]
    row = rows.loc[("ft", 3, case.seed, case.draw)]
    assert row["FA"] == right[split.forget].mean()
    assert row["RA"] == right[split.retain].mean()
    assert row["FA_all"] == right[np.r_[split.earlier, split.forget]].mean()


def test_the_first_draw_shares_original_models_with_a_run_without_draws_or_rounds(folder, run):
  assert sweeps.call(*arguments(folder)) == 0
  (plain,) = (path for path in folder.iterdir() if path != run)
  of = lambda path: [member.identity for member in Record(path).members("original")]
  assert of(plain) == of(run)
  assert Record(plain).groups("original")[0].borrowed_from == run.name


def test_a_single_forget_set_has_the_bits_of_the_population(run, tmp_path):
  """One seed and draw after the other, one process each time, at the same widths."""
  argv = arguments(tmp_path, ROUNDS, DRAWS, "--config.population.members_at_once=1")
  assert sweeps.call(*argv) == 0
  together, alone = Record(run), Record(sweeps.only_run(tmp_path))
  assert len(alone.groups("ft@3")) == 4
  for stage in ("retrained", "ft@1", "ft@2", "ft@3"):
    assert equal(together.variables(stage), alone.variables(stage)), stage


def test_rounds_and_forget_sets_of_all_sizes_share_programs(tmp_path, monkeypatch):
  made, build = {}, programs.build
  programs._build.cache_clear()  # other tests have other shapes

  def remembered(population, task, method, options):
    found = build(population, task, method, options)
    made.setdefault(method.name, {})[id(found)] = found
    return found

  monkeypatch.setattr(programs, "build", remembered)
  scenario = (*EACH, "--config.scenario.rounds=2", "--config.seeds=0")
  assert sweeps.call(*arguments(tmp_path, *scenario)) == 0
  assert set(made) == {"original", "retrained", "ft"}
  for of_method in made.values():
    (found,) = of_method.values()
    each = (found.prepare, *found.start, *found.epoch)
    assert [len(program._compiled) for program in each] == [1] * len(each)


def test_the_plan_counts_originals_once(folder):
  units = plan.plan(sweeps.settings(*arguments(folder, ROUNDS, DRAWS))).units
  count = lambda stage: sum(len(unit.members) for unit in units if unit.stage == stage)
  assert [count(s) for s in ("original", "retrained", "ft@1", "ft@3")] == [2, 12, 4, 4]
  assert {unit.state for unit in units} == {"done"}


def test_the_report_is_about_the_last_round_and_shows_all(run):
  text = (run / "report.md").read_text()
  assert "A seed's number is the mean over its 2 forget sets" in text
  assert "After 3 rounds: FA and attacks are those of the last one." in text
  page = (run / "report.html").read_text()
  assert "Over rounds" in page and "Round by round" in page
  table = Run.open(run).table("rounds")
  assert set(table["round"]) == {1, 2, 3}
  assert {"FA", "FA_all", "TA", "T_MIA", "T_MIA_first"} <= set(table["metric"])


def test_inspection_lists_rounds_and_no_stage_that_nobody_asks_for(run):
  found = {stage["stage"]: stage for stage in inspection.inspect(run)["stages"]}
  assert list(found) == ["original", "retrained", "ft@1", "ft@2", "ft@3"]
  assert found["ft@2"]["members"] == 4


def test_each_class_is_a_forget_set_also_where_seeds_have_splits_of_their_own(tmp_path):
  argv = arguments(tmp_path, *EACH, "--config.data.split_per_seed=true")
  assert sweeps.call(*argv) == 0
  dataset, found = requested(argv)
  assert len({len(case.whole.forget) for case in found}) > dataset.num_classes
  for case in found:
    assert set(dataset.labels[case.whole.forget]) == {case.draw}
    assert set(dataset.labels[case.whole.control]) == {case.draw}
  record = Record(sweeps.only_run(tmp_path))
  classes = dataset.num_classes
  assert len(record.members("original")) == 2
  assert len(record.members("retrained")) == len(record.members("ft")) == 2 * classes
  rows = Run.open(sweeps.only_run(tmp_path)).rows()
  assert (rows[rows["method"] == "retrained"]["FA"] == 0).all()


def test_a_model_that_failed_in_a_round_rests_in_later_ones(tmp_path):
  """A rate that breaks some models in the second round: they stay broken, others are untouched."""
  argv = lambda rate: arguments(
    tmp_path / str(rate), ROUNDS, f"--config.unlearning.ft.learning_rate={rate}"
  )
  assert sweeps.call(*argv(1e30)) == 0
  rows = Run.open(sweeps.only_run(tmp_path / "1e+30")).rows()
  failed = rows[(rows["method"] == "ft")].set_index(["round", "seed"])["failed_steps"]
  assert failed.loc[(1, 0)].startswith("fine-tune")
  assert failed.loc[(3, 0)] == failed.loc[(2, 0)] == f"ft@1: {failed.loc[(1, 0)]}"
