"""Trials that are looked at midway: who goes on, and that looking changes nothing."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
from support import sweeps

from jaxmu.execution.accounting import NO_LIMIT, WHOLE, Span
from jaxmu.search import choice
from jaxmu.search.choice import Trial
from jaxmu.store import Run, states
from jaxmu.store.groups import text
from jaxmu.store.record import Record
from jaxmu.studies import plan
from jaxmu.studies.search import halving

SEARCH = (
  "--config.study=search",
  "--config.search.trials=6",
  "--config.search.batch=6",
  "--config.search.robust=1",
  "--config.search.robust_seeds=,",
  "--config.search.check_seeds=,",
)
RUNGS = "--config.search.rungs=0.25,0.5"


def arguments(folder, *overrides):
  return sweeps.arguments(folder, *SEARCH, *overrides, methods="ft,iu", epochs=40)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """One search of two methods whose trials all run to their end."""
  made = tmp_path_factory.mktemp("whole")
  assert sweeps.call(*arguments(made)) == 0
  return made


@pytest.fixture(scope="module")
def halved(whole, tmp_path_factory):
  """The same search with looks after a quarter and half of eight epochs."""
  made = shutil.copytree(whole, tmp_path_factory.mktemp("halved") / "both")
  assert sweeps.call(*arguments(made, RUNGS)) == 0
  return made


def run_of(folder, halving):
  (found,) = [
    Run.open(path.parent)
    for path in folder.glob("*/config.json")
    if bool(Run.open(path.parent).config["search"]["rungs"]) == halving
  ]
  return found


def trials(folder, halving=True):
  return run_of(folder, halving).table("trials")


def trial(score, number, place=0, stopped=0):
  return Trial({"seed": place, "trial": number}, {}, np.array([score, 0, 0, 0]), stopped)


def on(found, share=0.5, most=math.inf, running=None):
  now = {text(t.at) for t in found if running is None or t.at["trial"] in running}
  return [t.at["trial"] for t in halving.better(found, now, share, most)]


def test_the_better_half_of_each_place_goes_on():
  found = [trial(s, k, place, 3) for place in (0, 1) for k, s in enumerate((0.4, 0.1, 0.3, 0.2))]
  assert on(found) == [1, 3, 1, 3]
  assert on(found, 0.25) == [1, 1]
  assert on(found, 0.3) == [1, 3, 1, 3]  # of four, two at least
  assert on(found, 1.0, most=0.25) == [1, 3, 1, 3]


def test_ended_trials_compete_and_do_not_go_on_and_stopped_ones_are_out():
  found = [trial(0.1, 0), trial(0.2, 1, stopped=3), trial(0.3, 2, stopped=3), trial(0.4, 3)]
  assert on(found) == [1]
  assert on(found, 0.25) == []
  assert on([*found, trial(0.05, 4, stopped=1)], running={0, 1, 2, 3}) == [1, 2]  # 3 of 5


def test_a_failed_trial_never_goes_on():
  assert on([trial(math.inf, 0, stopped=3), trial(0.9, 1, stopped=3)], 1.0) == [1]


def test_a_stopped_trial_is_never_chosen():
  found = [trial(0.1, 0, stopped=3), trial(0.2, 1)]
  assert choice.best(found) == found[1:]
  assert [t.at["trial"] for t in choice.candidates(found, 2)] == [1]


@pytest.mark.parametrize(
  ("shares", "longest", "expected"),
  [
    ((0.25, 0.5), 8, ((0, 2), (2, 4), (4, NO_LIMIT))),
    ((0.25, 0.5), 2, ((0, 1), (1, NO_LIMIT))),  # both are the first epoch
    ((0.5,), 1, ((0, NO_LIMIT),)),
    ((), 8, ((0, NO_LIMIT),)),
  ],
)
def test_where_trials_are_looked_at(shares, longest, expected):
  assert halving.spans(shares, longest, 1) == tuple(Span(*pair) for pair in expected)
  assert halving.spans(shares, longest, 2) == (WHOLE,)


def test_who_ended_is_as_if_nobody_had_looked(whole, halved):
  before, after = trials(whole, False), trials(halved)
  assert len(before) == len(after)
  ended = after["stopped"] == 0
  pd.testing.assert_frame_equal(after[ended], before[ended], check_exact=True)
  ft = after[after["method"] == "ft"]
  assert set(ft["stopped"]) == {0, 2, 4}
  assert (ft[ft["stopped"] > 0]["passes"] < before.loc[ft[ft["stopped"] > 0].index, "passes"]).all()
  first = [
    sum(row["seed"] == s and row["stopped"] == 2 for _, row in ft.iterrows()) for s in (0, 1)
  ]
  assert max(first) <= 3  # half of six go on, those that ended are none of them
  assert not list(halved.glob("*/states"))


def test_the_sampler_hears_what_stopped_trials_achieved(halved):
  run = run_of(halved, True)
  assert (run.path / "tuned-ft.json").is_file()
  least = trials(halved).query("method == 'ft' and stopped == 0")["S"].min()
  assert f'"searched": {least}' in (run.path / "tuned-ft.json").read_text()
  report = (run.path / "report.md").read_text()
  count = int((trials(halved)["stopped"] > 0).sum())
  assert f"{count} of 24 trials were stopped midway" in report


@pytest.mark.parametrize("lost", ["state", "later part"])
def test_what_is_lost_is_computed_again(lost, halved, tmp_path, monkeypatch):
  copied = shutil.copytree(halved, tmp_path / "copied")
  record = Record(run_of(copied, True).path)
  parts = ("ft.1.2", "ft.1.4") if lost == "later part" else ("ft.1", "ft.1.2", "ft.1.4")
  for stage in parts:
    for group in record.groups(stage):
      record.forget(record.folder(stage, group.group))
  if lost == "state":  # nobody can write one
    monkeypatch.setattr(states, "save", lambda *given: None)
  assert sweeps.call(*arguments(copied, RUNGS)) == 0
  pd.testing.assert_frame_equal(trials(copied), trials(halved), check_exact=True)


def test_the_plan_halves(tmp_path):
  members, work = {}, {}
  for unit in plan.plan(sweeps.settings(*arguments(tmp_path, RUNGS))).units:
    members[unit.stage] = members.get(unit.stage, 0) + len(unit.members)
    work[unit.stage] = work.get(unit.stage, 0) + unit.pflop
  assert members["ft.1"] == 12 and 0 < members["ft.1.4"] <= members["ft.1.2"] <= 6
  assert "iu.1.2" not in members
  every = plan.plan(sweeps.settings(*arguments(tmp_path))).units
  assert sum(work.values()) < sum(unit.pflop for unit in every)


@pytest.mark.parametrize(
  ("override", "words"),
  [
    ("--config.search.rungs=0.5,0.25", "expected shares that rise, such as 0.25,0.5"),
    ("--config.search.rungs=0.5,1", "expected shares separated by commas, each a number above 0"),
    ("--config.search.rungs=half", "expected shares separated by commas, each a number"),
    ("--config.search.keep=0", "config.search.keep is 0"),
    ("--config.search.hopeless=-1", "config.search.hopeless is -1"),
  ],
)
def test_mistakes_are_one_line(override, words, tmp_path, capsys):
  assert sweeps.call(*arguments(tmp_path, override)) == 2
  said = capsys.readouterr().err
  assert words in said and said.count("\n") == 1
