"""Metrics as values: one more is seen everywhere, and what they share is computed once."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support import report_cases as cases

from jaxmu.audit import audit, comparison, distances, evaluation, evidence, metric_table, metrics
from jaxmu.audit.attacks import strongest as strongest_module
from jaxmu.audit.attacks import svc_mia
from jaxmu.audit.attacks.strongest import ATTACKS
from jaxmu.audit.metric import COST, EVERY, LOGITS, MAIN, PARAMETERS, ROWS, Metric
from jaxmu.audit.metrics import METRICS
from jaxmu.store import Run

RNG = np.random.default_rng(0)
N, C = 240, 4
PARTS = zip(("retain", "forget", "val", "test"), np.split(np.arange(N), [100, 140, 180]))
SPLIT = SimpleNamespace(**dict(PARTS))
LABELS = RNG.integers(0, C, N)
METHODS = ("original", "retrained", "ft", "ga")
PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def logits(members=3, known=140, seed=0):
  rng = np.random.default_rng(seed)
  found = rng.normal(0, 1.5, (members, N, C))
  found[:, np.arange(N), LABELS] += np.where(np.arange(N) < known, 3, 1)
  return found


def measure(method, seed=0, members=3, **options):
  values = logits(members, 100 if method == "retrained" else 140, seed)
  known = (LABELS, LABELS, SPLIT)
  return evaluation.measure(
    values, *known, method=method, seeds=range(members), passes=9.0, **options
  )


def documented() -> Metric:
  """Return the metric of docs/evaluation.md, made by the code that stands there."""
  (code,) = re.findall(
    r"^## One more metric$.*?^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S
  )
  made: dict = {}
  exec(code, made)
  return made["CONFIDENCE"]


def added(name, **options):
  return Metric(name, title=f"meaning of {name}", **options)


@pytest.fixture
def more(monkeypatch):
  """Register four metrics, each by one value and one entry."""
  found = (
    documented(),
    added("FC_gap", reads=ROWS, needs=("FC",), of=lambda new, ref: new["FC"] - ref["FC"]),
    added(
      "largest",
      reads=PARAMETERS,
      needs=("original",),
      of=lambda stage: abs(stage.own["w"] - stage.others["original"]["w"]).max(1),
    ),
    added("verdict", reads=LOGITS, word=True, of=lambda member: f"{len(member.labels)} seen"),
  )
  for metric in found:
    monkeypatch.setitem(METRICS, metric.name, metric)
  return [metric.name for metric in found]


@pytest.fixture
def made(more):
  """A benchmark measured with them: rows by method, and tables."""
  measured = {name: measure(name, k) for k, name in enumerate(METHODS)}
  params = {name: {"w": RNG.normal(size=(3, 10))} for name in METHODS}
  references = {name: params[name] for name in ("original", "retrained")}
  rows = {}
  for name, found in measured.items():
    whole = distances.add_distances(found.rows, params[name], **references)
    rows[name] = metrics.derive(whole, measured["retrained"].rows)
  tables = comparison.tables(rows, {n: found.influences for n, found in measured.items()})
  return SimpleNamespace(rows=rows, tables=tables, params=params)


def test_one_more_metric_is_a_column(made, more, tmp_path):
  every = [row for rows in made.rows.values() for row in rows]
  probability = np.exp(logits(3, 140, 2)[1])
  probability /= probability.sum(-1, keepdims=True)
  row = made.rows["ft"][1]
  assert row["FC"] == pytest.approx(
    probability[SPLIT.forget, LABELS[SPLIT.forget]].mean(), rel=1e-12
  )
  assert row["FC_gap"] == row["FC"] - made.rows["retrained"][1]["FC"]
  change = made.params["ft"]["w"][1] - made.params["original"]["w"][1]
  assert row["largest"] == np.abs(change).max() and row["verdict"] == "240 seen"
  run = cases.save(tmp_path, cases.data(methods=METHODS, seeds=range(3)))
  with run.writing_results():
    run.write_rows(every, metrics.columns())
  assert tuple(Run.open(run.path).rows().columns) == metrics.columns()
  assert metrics.columns()[-4:] == tuple(more)


def test_one_more_metric_has_intervals_and_differences(made):
  assert {("ft", "FC"), ("retrained", "FC")} <= {
    (row["method"], row["metric"]) for row in made.tables.intervals
  }
  (row,) = [
    row
    for row in made.tables.differences
    if (row["metric"], row["method"], row["other"]) == ("FC", "ft", "ga")
  ]
  gaps = [one["FC"] - two["FC"] for one, two in zip(made.rows["ft"], made.rows["ga"])]
  assert row["value"] == pytest.approx(np.mean(gaps)) and row["low"] < row["value"] < row["high"]


def test_one_more_metric_is_in_every_report(made):
  table = pd.DataFrame([row for rows in made.rows.values() for row in rows])
  table = table[[name for name in metrics.columns() if name in table]]
  texts = cases.texts(cases.data(methods=METHODS, seeds=range(3), table=table))
  means = {name: np.mean([row["FC"] for row in rows]) for name, rows in made.rows.items()}
  tidy = pd.read_csv(io.StringIO(texts["report.csv"])).set_index(["method", "metric"])
  assert tidy.loc[("ft", "FC"), "mean"] == pytest.approx(means["ft"])
  assert {"FC_gap", "largest"} <= set(tidy.index.get_level_values("metric"))
  assert "verdict" not in set(tidy.index.get_level_values("metric"))
  results = texts["report.md"].split("## Results")[1]
  head, line = (
    next(row for row in results.splitlines() if row.startswith(start))
    for start in ("| Method", "| FT")
  )
  place = [cell.strip() for cell in head.split("|")].index("Confidence")
  assert line.split("|")[place].strip().startswith(f"{means['ft']:.3f} ±")
  metric = METRICS["FC"]
  assert f"- **Confidence**: {metric.explanation}" in texts["report.md"]
  assert metric.explanation in texts["report.tex"] and "Confidence & n" in texts["report.tex"]
  assert f'<h3>Confidence</h3>\n<p class="small">Ideal: {metric.ideal}' in texts["report.html"]
  assert metric.limits in texts["report.html"]


def test_one_more_metric_is_in_the_table_of_the_documentation(more):
  lines = metric_table.markdown().splitlines()
  assert lines[-4] == "| `FC` | mean probability of the label on the forget set |"
  assert lines[-1] == "| `verdict` | meaning of verdict |"
  assert len(lines) == 2 + len(metrics.ordered())


def test_one_more_metric_is_measured_by_an_audit(more):
  found = audit(logits=logits(1)[0], labels=LABELS, forget=SPLIT.forget, unseen=SPLIT.test)
  assert 0 < found.rows["FC"].item() < 1 and found.summary.cell("unlearned", "FC").has_interval


def test_metrics_that_do_not_apply_have_no_value(monkeypatch):
  monkeypatch.setitem(
    METRICS,
    "extra",
    added("extra", reads=LOGITS, needs=("val",), of=lambda member: 1 / len(member.sets["val"])),
  )
  empty = SimpleNamespace(**{**vars(SPLIT), "val": np.array([], int)})
  values = logits(2)
  values[1, 0] = np.nan
  found = evaluation.measure(values, LABELS, LABELS, empty, method="ft", seeds=(0, 1), passes=7.0)
  for row, moved in zip(found.rows, found.influences):
    assert np.isnan([row["extra"], row["V_MIA"], row["V_AUC"]]).all() and row["passes"] == 7.0
    assert not {"extra", "V_MIA"} & set(moved)
  assert found.rows[1]["T_attack"] == "" and found.influences[1] == {}


def counted(monkeypatch, module, name):
  """Count the calls of a function of a module."""
  calls, real = [], getattr(module, name)
  monkeypatch.setattr(module, name, lambda *a, **kw: (calls.append(name), real(*a, **kw))[1])
  return calls


def test_what_metrics_share_is_computed_once(monkeypatch):
  names = ("cross_entropy", "population_mia_many", "population_scores", "strongest")
  calls = {name: counted(monkeypatch, evidence, name) for name in names}
  again = counted(monkeypatch, svc_mia, "population_scores")
  sorted_once = counted(monkeypatch, strongest_module, "_Merged")
  found = measure("ft", members=3, svc_limit=20)
  assert np.isfinite([row["SVC_MIA"] for row in found.rows]).all()
  assert {name: len(made) for name, made in calls.items()} == {
    "cross_entropy": 1,  # of the whole population
    "population_mia_many": 2,  # against validation and test samples
    "population_scores": 3,  # per member
    "strongest": 3,
  }
  assert again == []
  # To choose and to measure, once for each score that attacks look at.
  assert len(sorted_once) == 3 * 2 * len({attack.score for attack in ATTACKS.values()})


def test_what_no_metric_asks_for_is_not_computed(monkeypatch):
  monkeypatch.setattr(metrics, "METRICS", {name: METRICS[name] for name in ("RA", "FA", "passes")})
  names = ("population_mia_many", "population_scores", "strongest")
  calls = [counted(monkeypatch, evidence, name) for name in names]
  (row,) = measure("ft", members=1).rows
  assert list(row) == ["method", "seed", "finite", "failed_steps", "RA", "FA", "passes"]
  assert calls == [[], [], []]


def test_weights_are_read_once_for_all_distances(monkeypatch):
  calls = counted(monkeypatch, distances, "_squares")
  own, other = ([RNG.normal(size=(2, 5)), RNG.normal(size=(2, 3))] for _ in range(2))
  rows = [{"finite": True}, {"finite": True}]
  distances.add_distances(rows, own, original=other, retrained=own)
  assert len(calls) == 2  # leaves


def test_one_more_attack_may_be_chosen(monkeypatch):
  rule = lambda merged: np.where(merged.sign > 0, 1.0, 1.0)  # always right
  attack = ATTACKS["margin"]._replace(rule=rule, score="loss", short="oracle", words="an oracle")
  monkeypatch.setitem(ATTACKS, "oracle", attack)
  (row,) = measure("ft", members=1).rows
  assert (row["T_attack"], row["T_strongest"]) == ("oracle", 1.0)


def test_the_registry_is_sound():
  assert all(name == metric.name for name, metric in METRICS.items())
  names = list(METRICS)
  for place, metric in enumerate(METRICS.values()):
    assert metric.title and metric.reads in (LOGITS, ROWS, PARAMETERS, COST)
    assert metric.better in ("", "low", "high")
    assert not metric.paired or metric.influence
    if MAIN in metric.tables:
      assert metric.label and metric.ideal and metric.explanation and metric.limits
    if metric.reads == ROWS:  # what it is derived from is known by then
      derived = [METRICS[name] for name in metric.needs if METRICS[name].reads == ROWS]
      assert all(names.index(one.name) < place for one in derived)
  assert {m.name for m in METRICS.values() if m.paired == EVERY} < set(metrics.ranked())
  assert [f"T_{name}" in METRICS for name in ATTACKS] == [True] * len(ATTACKS)
