"""A kind of study of one's own: a short file gets resume, growth, plan, status and reports."""

from pathlib import Path

import numpy as np
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.store import Run, inspection
from jaxmu.store.record import Record
from jaxmu.studies import STUDIES, plan
from jaxmu.studies.study import Member, Stage, Study
from jaxmu.unlearning import get, hyperparameters


# A kind: each seed forgets two different sets. `twice` unlearns what `ft` has unlearned, and only
# the members whose retain accuracy `ft` left above one half.
def stages(outline):
  settings, splits = outline.settings, two_splits(outline)
  keep = frozenset({"variables", "logits", "curves", "metrics"})
  places = [{"seed": s, "set": k} for s in settings.seeds for k in (0, 1)]

  def members(name, parent, chosen=places):
    hp, start = hyperparameters(settings, name), lambda at: None if parent is None else at
    return tuple(
      Member(at, splits[at["set"]], hp, (at["seed"], at["set"]), start(at)) for at in chosen
    )

  yield Stage("original", get("original"), members("original", None), keep=keep)
  yield Stage("retrained", get("retrained"), members("retrained", None), keep=keep)
  rows = yield Stage("ft", get("ft"), members("ft", "original"), "original", keep)
  good = [{"seed": row["seed"], "set": row["set"]} for row in rows if row["RA"] > 0.5]
  if good:
    yield Stage("twice", get("ft"), members("ft", "ft", good), "ft", keep)


def two_splits(outline):
  draw = lambda seed: data.fixed_split(outline.num_train, outline.num_samples, seed=seed)
  return [draw(1), draw(2)]


def tables(finished, say):
  rows = [row for stage in finished.stages for row in finished.record.rows(stage.name)]
  finished.run.write_rows(rows)
  say(f"{len(rows)} rows")


def report(run):
  (run.path / "report.md").write_text(run.rows().groupby("method")["TA"].mean().to_string())
  return [run.path / "report.md"]


KIND = Study(stages, tables, report, lambda run, folder: [], lambda outline: ["two sets a seed"])
# End of the kind.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("kinds")


@pytest.fixture
def own(monkeypatch):
  monkeypatch.setitem(STUDIES, "two_sets", KIND)


def arguments(folder, *overrides):
  given = ("--config.study=two_sets", "--config.methods=ft", *overrides)
  return sweeps.arguments(folder, *given)


def test_it_runs_and_is_told_of(own, folder, capsys):
  assert sweeps.call(*arguments(folder)) == 0
  run = Run.open(sweeps.only_run(folder))
  rows = run.rows()
  assert set(rows["method"]) >= {"original", "retrained", "ft", "twice"}
  assert rows[rows["method"] == "ft"][["seed", "set"]].to_numpy().tolist() == [
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ]
  assert rows["V_MIA"].between(0, 1).all() and "12 rows" not in capsys.readouterr().out
  about = {stage["stage"]: stage for stage in inspection.inspect(run.path)["stages"]}
  assert about["original"]["done"] == about["original"]["members"] == 4
  assert about["twice"]["done"] == (rows["method"] == "twice").sum() > 0


def test_twice_starts_from_what_was_unlearned_before(own, folder):
  record = Record(sweeps.only_run(folder))
  kernel = lambda stage, seed: record.variables(stage, {"seed": seed, "set": 1})["params"]["head"]
  before, after, other = kernel("ft", 0), kernel("twice", 0), kernel("ft", 1)
  moved = np.abs(after["kernel"] - before["kernel"]).mean()
  assert 0 < moved < 0.5 * np.abs(after["kernel"] - other["kernel"]).mean()


def test_it_grows_in_place_and_is_planned(own, folder, capsys):
  settings = lambda *words: sweeps.settings(*arguments(folder, *words))
  units = plan.plan(settings()).units
  assert {unit.state for unit in units} == {"done"}
  assert {unit.stage for unit in units} == {"original", "retrained", "ft", "twice"}
  more = plan.plan(settings("--config.seeds=0..2")).units
  left = [unit for unit in more if unit.state == "to do"]
  # What `twice` will have, nobody knows before `ft` is finished.
  assert {unit.stage: [m["seed"] for m in unit.members] for unit in left} == {
    name: [2, 2] for name in ("original", "retrained", "ft")
  }
  assert left[2].needs == (left[0].key,)
  before = Run.open(sweeps.only_run(folder)).rows()
  capsys.readouterr()
  assert sweeps.call(*arguments(folder, "--config.seeds=0..2")) == 0
  said = capsys.readouterr().err
  assert "original: 2 members done" in said and "4 members" not in said
  grown = Run.open(sweeps.only_run(folder)).rows()
  own_rows = grown[grown["seed"] < 2].reset_index(drop=True)
  assert own_rows.equals(before)
  assert sorted(set(grown["seed"])) == [0, 1, 2]


def test_a_kind_that_nobody_knows_is_one_line(folder, tmp_path, capsys):
  assert sweeps.call(*sweeps.arguments(tmp_path, "--config.study=benchmrk")) == 2
  assert "unknown 'benchmrk'; did you mean 'benchmark'?" in capsys.readouterr().err


def test_the_kind_is_short():
  """What the architecture promises: about sixty lines."""
  source = Path(__file__).read_text(encoding="utf-8")
  kind = source.split("# A kind: ")[1].split("# End of the kind.")[0]
  assert len(kind.splitlines()) <= 60
