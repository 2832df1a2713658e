"""Originals that are unlearned more than once: what is trained, what is kept, what it says."""

import shutil

import numpy as np
import pandas as pd
import pytest
from support import sweeps

from jaxmu.store import Run
from jaxmu.store.record import Record


def arguments(folder, times, *more, methods="ft,ct"):
  return sweeps.arguments(folder, f"--config.unlearning_seeds={times}", *more, methods=methods)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
  folder = tmp_path_factory.mktemp("once")
  assert sweeps.call(*arguments(folder, 1)) == 0
  return folder


@pytest.fixture(scope="module")
def thrice(once, tmp_path_factory):
  folder = shutil.copytree(once, tmp_path_factory.mktemp("thrice") / "runs")
  assert sweeps.call(*arguments(folder, 2)) == 0
  assert sweeps.call(*arguments(folder, 3)) == 0
  return folder


def test_the_study_grows_and_its_tables_stay(once, thrice):
  before, after = Run.open(sweeps.only_run(once)), Run.open(sweeps.only_run(thrice))
  pd.testing.assert_frame_equal(after.rows(), before.rows(), check_exact=True)
  assert not before.has("variance.parquet")
  record = Record(after.path)
  assert [m.at for m in record.members("ft.repeats")] == [
    {"seed": s, "repeat": k} for s in (0, 1) for k in (1, 2)
  ]
  sizes = [len(group.members) for group in record.groups("ft.repeats")]
  assert sizes == [2, 2]  # the first repeat of both seeds was not trained again
  assert set(record.groups("ft.repeats")[0].files) == set()  # numbers alone are kept


def test_parts_are_those_of_the_rows(thrice):
  run = Run.open(sweeps.only_run(thrice))
  table = run.table("variance").set_index(["method", "metric"])
  rows, record = run.rows(), Record(run.path)
  first = rows[rows["method"] == "ft"].set_index("seed")["T_AUC"]
  values = {seed: [first[seed]] for seed in (0, 1)}
  for row in record.rows("ft.repeats"):
    values[row["seed"]].append(row["T_AUC"])
  values = np.array([values[0], values[1]])
  assert values.shape == (2, 3) and len(set(values[0])) == 3  # other random numbers
  found = table.loc[("ft", "T_AUC")]
  assert found["unlearning"] ** 2 == pytest.approx(values.var(1, ddof=1).mean())
  assert (found["seeds"], found["repeats"]) == (2, 3)
  assert found["samples"] > 0
  assert not table.index.isin([("retrained", "FA")]).any()


def test_the_report_says_what_repeats_are_not(thrice, once):
  report = (sweeps.only_run(thrice) / "report.md").read_text()
  assert "from 2 originals, each unlearned 3 times" in report
  assert "it does not replace training seeds" in report
  assert "FT, further runs" in report
  assert "Where the spread comes from" not in (sweeps.only_run(once) / "report.md").read_text()


@pytest.mark.parametrize(
  ("override", "words"),
  [
    ("--config.unlearning_seeds=0", "config.unlearning_seeds is 0"),
    ("--config.study=search", "config.unlearning_seeds is 3, but only a benchmark"),
  ],
)
def test_mistakes_are_one_line(override, words, tmp_path, capsys):
  assert sweeps.call(*arguments(tmp_path, 3, override)) == 2
  said = capsys.readouterr().err
  assert words in said and said.count("\n") == 1
