"""A kind of study of one's own: a short file gets resume, growth, plan, status and reports."""

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import sweeps
from support.report_page import Page

from jaxmu import data
from jaxmu.audit import rules, text
from jaxmu.audit.metrics import METRICS
from jaxmu.audit.results import Cell
from jaxmu.report import blocks, facts, figures, source
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


KIND = Study(stages, tables, lambda run: report(run), lambda outline: ["two sets a seed"])
# End of the kind.


# Its report: what it shows and says, the rest is every report's.
def report(run):
  about, rows = source.about(run), run.rows()
  names, cells = list(dict.fromkeys(rows["method"])), cells_of(rows)
  main = blocks.Table(
    "Accuracies and attack of every method",
    tuple(blocks.Column(METRICS[name].label, METRICS[name].ideal) for name in SHOWN),
    tuple(
      blocks.Row(
        about.label(name),
        tuple(blocks.Cell(text.spread(cells[name, metric])) for metric in SHOWN),
        name,
        name in ("original", "retrained"),
        tuple(c for c in warned(about, names, cells) if c.method == name),
      )
      for name in names
    ),
    name="main",
  )
  pairs = {name: (cells[name, "T_strongest"], cells[name, "T_MIA"]) for name in names}
  title = "Attacks per method"
  plot = figures.strip("attack", title, "strongest", "attack accuracy", pairs, about.label, 0.5)
  lost = cells["retrained", "TA"].mean - cells["twice", "TA"].mean
  return blocks.Report(
    title=about.title,
    kind="study of two forget sets",
    subject=f"{facts.task(about)}, two forget sets a seed",
    header=facts.header(about, [("Rows", str(len(rows)))], "two splits"),
    first=blocks.Section(
      "In short", (blocks.Text(f"Unlearning twice costs {lost:.3f} in accuracy."),), "verdict"
    ),
    sections=(
      blocks.Section("Results", (main,), "results"),
      blocks.Section("Warnings", (blocks.Warnings(warned(about, names, cells), "None."),)),
      blocks.Section("Figures", (blocks.Drawings((blocks.Drawing(plot),)),), page_only=True),
      facts.methods(about, names),
      blocks.Section("Provenance", (facts.provenance(about),)),
    ),
    marks=about.marks,
    main=main,
    numbers=rows,
  )


SHOWN = ("RA", "FA", "TA", "T_MIA", "T_strongest")


def cells_of(rows):
  """Aggregate over the members of each method."""
  return {
    (name, metric): Cell(len(part), part[metric].mean(), part[metric].std())
    for name, part in rows.groupby("method")
    for metric in SHOWN
  }


def warned(about, names, cells):
  words = ("Nothing is left to attack.", "Nothing can be compared.")
  found = []
  for name in names:
    reference = None if name in ("original", "retrained") else cells["retrained", "TA"]
    trained = rules.Trained({"Test accuracy": cells[name, "TA"]}, reference=reference)
    found += rules.collapsed(name, about.label(name), trained, about.chance, *words)
  return tuple(found)


# End of the report.


@pytest.fixture(scope="module")
def own():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(STUDIES, "two_sets", KIND)
    yield


@pytest.fixture(scope="module")
def folder(own, tmp_path_factory):
  """One finished study, which the tests read, in any order and on any worker."""
  made = tmp_path_factory.mktemp("kinds")
  with contextlib.redirect_stdout(io.StringIO()) as said:
    assert sweeps.call(*arguments(made)) == 0
  assert "12 rows" not in said.getvalue()  # what a study says is no output
  return made


def arguments(folder, *overrides):
  given = ("--config.study=two_sets", "--config.methods=ft", *overrides)
  return sweeps.arguments(folder, *given)


def test_it_runs_and_is_told_of(folder):
  run = Run.open(sweeps.only_run(folder))
  rows = run.rows()
  assert set(rows["method"]) >= {"original", "retrained", "ft", "twice"}
  assert rows[rows["method"] == "ft"][["seed", "set"]].to_numpy().tolist() == [
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ]
  assert rows["V_MIA"].between(0, 1).all()
  about = {stage["stage"]: stage for stage in inspection.inspect(run.path)["stages"]}
  assert about["original"]["done"] == about["original"]["members"] == 4
  assert about["twice"]["done"] == (rows["method"] == "twice").sum() > 0


def test_twice_starts_from_what_was_unlearned_before(folder):
  record = Record(sweeps.only_run(folder))
  kernel = lambda stage, seed: record.variables(stage, {"seed": seed, "set": 1})["params"]["head"]
  before, after, other = kernel("ft", 0), kernel("twice", 0), kernel("ft", 1)
  moved = np.abs(after["kernel"] - before["kernel"]).mean()
  assert 0 < moved < 0.5 * np.abs(after["kernel"] - other["kernel"]).mean()


def test_it_grows_in_place_and_is_planned(folder, tmp_path, capsys):
  folder = shutil.copytree(folder, tmp_path / "grown")
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


def test_a_kind_that_nobody_knows_is_one_line(tmp_path, capsys):
  assert sweeps.call(*sweeps.arguments(tmp_path, "--config.study=benchmrk")) == 2
  assert "unknown 'benchmrk'; did you mean 'benchmark'?" in capsys.readouterr().err


def test_its_report_has_what_every_report_has(folder):
  run = Run.open(sweeps.only_run(folder))
  page = (run.path / "report.html").read_text()
  Page(page)
  assert "study of two forget sets" in page and "Unlearning twice costs" in page
  assert 'id="fig-attack-title"' in page and 'id="main-twice"' in page
  markdown = (run.path / "report.md").read_text()
  mean = run.rows().query("method == 'twice'")["FA"].mean()
  assert f"| {mean:.3f}" in markdown and "## Provenance" in markdown
  assert r"\begin{tabular}{lrrrrr}" in (run.path / "report.tex").read_text()


def test_the_kind_and_its_report_are_short():
  """What the architecture promises: about sixty lines, and eighty for the report."""
  text = Path(__file__).read_text(encoding="utf-8")
  kind = text.split("# A kind: ")[1].split("# End of the kind.")[0]
  assert len(kind.splitlines()) <= 60
  words = text.split("# Its report: ")[1].split("# End of the report.")[0]
  assert len(words.splitlines()) <= 80
