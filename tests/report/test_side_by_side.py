"""Several runs on one page: what differs, every number, and differences seed by seed."""

import pytest
from support import manifests, study_cases
from support import report_cases as cases
from support.report_page import Page

from jaxmu import report
from jaxmu.errors import StoreError
from jaxmu.report import benchmark, ulira
from jaxmu.report.writers import html, markdown
from jaxmu.store.manifest import SplitOrigin

SMALL = ("original", "retrained", "ft", "ga")


def composed(name="a", seeds=range(4), **changes):
  made = cases.data(SMALL, seeds, config=cases.config(name), **changes)
  return benchmark.compose(made)


def test_paired_differences_are_taken_seed_by_seed():
  table = cases.rows(SMALL, range(4))
  other = table.copy()
  other.loc[other["method"] == "ft", "FA"] -= 0.1
  whole = report.compare({"a": composed("a"), "b": composed("b", table=other)})
  text = markdown.document(whole)
  part = text.split("## Paired differences")[1].split("\n## ")[0]
  ft = next(line for line in part.splitlines() if line.startswith("| FT"))
  cells = [cell.strip() for cell in ft.split("|")[2:-1]]
  assert cells == ["0.000 [0.000, 0.000]"] * 2 + ["−0.100 [−0.100, −0.100]"] + [
    "0.000 [0.000, 0.000]",
    "4",
  ]
  assert "share seeds and split, so their models are compared one by one" in text


def test_seeds_that_only_one_run_has_are_left_out():
  whole = report.compare({"a": composed(seeds=range(4)), "b": composed(seeds=range(2, 6))})
  part = markdown.document(whole).split("## Paired differences")[1].split("\n## ")[0]
  assert next(x for x in part.splitlines() if x.startswith("| FT")).rstrip(" |").endswith(" 2")


def test_runs_of_other_splits_are_not_paired():
  split = SplitOrigin("f" * 64, {"forget": 100, "test": 100}, per_seed=False)
  other = composed("b", manifest=manifests.manifest(SMALL, split=split))
  text = markdown.document(report.compare({"a": composed(), "b": other}))
  assert "## Paired differences" not in text
  assert "No two of these runs share seeds and split" in text


def test_every_main_number_of_every_run_is_there_and_what_differs():
  runs = {"a": composed(), "b": composed("b", seeds=range(6))}
  whole = report.compare(runs)
  text = markdown.document(whole)
  for name, one in runs.items():
    for row in one.main.rows:
      for cell in row.cells[:-1]:
        assert cell.main in text
    assert name in text
  assert "| Seeds" in text.split("## What differs")[1] and "| Device" not in text
  assert set(whole.numbers["run"]) == {"a", "b"}
  page = html.page(whole)
  Page(page)
  assert "fig-side-by-side" in page


def test_a_study_stands_beside_a_study_and_not_beside_a_benchmark(tmp_path):
  study = ulira.report(study_cases.save(tmp_path))
  text = markdown.document(report.compare({"a": study, "b": study}))
  assert "## Number by number" in text and "## Paired differences" not in text
  with pytest.raises(StoreError, match="runs of different kinds"):
    report.compare({"a": study, "b": composed()})


def test_the_script_puts_runs_on_one_page_and_takes_thresholds(tmp_path, script):
  runs = [cases.save(tmp_path / name, cases.data(SMALL, range(3))) for name in ("a", "b")]
  code, out, error = script(*(run.path for run in runs), "--output", tmp_path / "both")
  assert (code, error) == (0, "") and out.splitlines()[0] == str(tmp_path / "both" / "report.md")
  assert str(runs[1].path) in (tmp_path / "both" / "report.md").read_text()  # equal names
  code, _, _ = script(runs[0].path, "--max-attack=0.7", "--min-speedup=3")
  text = (runs[0].path / "report.md").read_text()
  assert code == 0 and "no attack above 0.7" in text and "more than 3 times cheaper" in text


def test_the_script_refuses_a_threshold_outside_its_range(tmp_path, script):
  run = cases.save(tmp_path, cases.data(SMALL, range(2)))
  code, out, error = script(run.path, "--max-attack=7")
  assert (code, out) == (2, "")
  assert error == "error: --max-attack is 7; expected a number at least 0 and below 1\n"
