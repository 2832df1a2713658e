"""Numbers of the report against hand computation."""

import dataclasses
import io
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support import report_cases as cases

from jaxmu.audit import summary, text
from jaxmu.audit.results import Cell
from jaxmu.report import benchmark, writers
from jaxmu.report.benchmark import main_table
from jaxmu.report.blocks import SHARED
from jaxmu.store.manifest import Device, SplitOrigin

SMALL = ("original", "retrained", "ft", "ga")


def cells(line):
  return [cell.strip() for cell in line.strip().strip("|").split("|")]


def results(markdown):
  """Read the main table back: label -> column -> text."""
  lines = markdown.split("## Results")[1].split("\n## ")[0].splitlines()
  rows = [cells(line) for line in lines if line.startswith("|")]
  return {row[0]: dict(zip(rows[0], row)) for row in rows[2:]}


def test_the_table_holds_mean_and_sample_deviation_over_seeds():
  made = cases.data(SMALL)
  shown = results(cases.markdown(made))
  columns = {"RA": "RA", "FA": "FA", "TA": "TA", "RetDev": "RetDev", "MIA": "T_MIA"}
  columns["Strongest"] = "T_strongest"
  for method, label in (("ft", "FT"), ("original", "Original"), ("retrained", "Retrained")):
    rows = made.rows[made.rows["method"] == method]
    for column, key in columns.items():
      values = rows[key].to_numpy()
      wanted = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
      assert wanted in shown[label][column]
  assert shown["FT"]["RTE"] == "13.7"  # 25061 / 1830
  assert shown["Original"]["RTE"] == "–"
  assert shown["FT"]["n"] == "10"


def test_retention_deviation_is_paired_by_seed():
  made = cases.data(SMALL, range(4))
  by = {m: g.set_index("seed") for m, g in made.rows.groupby("method")}
  ratios = sum(abs(by["ft"][a] / by["retrained"][a] - 1) for a in ("RA", "FA", "TA"))
  shown = results(cases.markdown(made))["FT"]["RetDev"]
  assert f"{ratios.mean():.3f} ± {ratios.std(ddof=1):.3f}" in shown


def test_failed_members_are_left_out_and_counted():
  made = cases.data(SMALL, table=cases.fail(cases.rows(SMALL), "ft", [0, 9]))
  shown = results(cases.markdown(made))["FT"]
  kept = made.rows[(made.rows["method"] == "ft") & made.rows["finite"]]
  assert shown["n"] == "8/10" and len(kept) == 8
  assert f"{kept['FA'].mean():.3f} ± {kept['FA'].std(ddof=1):.3f}" in shown["FA"]


def test_methods_follow_their_deviation_after_the_references():
  markdown = cases.markdown(cases.data())
  order = list(results(markdown))
  assert order == ["Retrained", "Original", "FT", "NG+", "SRL", "CT", "MSG", "KDE", "GA", "FF"]


def test_clean_test_accuracy_is_shown_where_labels_are_random():
  made = cases.data(SMALL, config=cases.config(random_labels=0.1))
  markdown = cases.markdown(made)
  shown = results(markdown)["FT"]
  mean = made.rows[made.rows["method"] == "ft"]["TA_clean"].mean()
  assert shown["TA (clean labels)"].startswith(f"{mean:.3f}") and "TA" not in shown
  assert "10 % of all samples got a random label" in markdown
  assert "random label" not in cases.markdown(cases.data(SMALL))


def test_the_csv_is_tidy_and_exact():
  made = cases.data(SMALL)
  tidy = pd.read_csv(io.StringIO(writers.csv(benchmark.compose(made))))
  wanted = ["method", "metric", "n", "mean", "sd", "median", "q25", "q75", "low", "high"]
  wanted += ["seeds_low", "seeds_high"]
  assert list(tidy.columns) == wanted and not tidy.duplicated(["method", "metric"]).any()
  values = made.rows[made.rows["method"] == "ga"]["FA"].to_numpy()
  line = tidy[(tidy["method"] == "ga") & (tidy["metric"] == "FA")].iloc[0]
  assert line["n"] == 10
  np.testing.assert_allclose(
    line[["mean", "sd", "median", "q25", "q75"]].to_numpy(float),
    [values.mean(), values.std(ddof=1), *np.quantile(values, [0.5, 0.25, 0.75])],
  )
  assert line["low"] < line["mean"] < line["high"]
  assert {"RetDev_of_means", "Indisc_of_means", "norm", "SAPE_forget"} <= set(tidy["metric"])
  assert not {"FA_gap", "T_attack"} & set(tidy["metric"])


def test_intervals_of_the_run_replace_those_over_seeds():
  table = pd.DataFrame([{"method": "ft", "metric": "FA", "value": 0.848, "low": 0.7, "high": 0.9}])
  found = summary.summarise(cases.data(SMALL, intervals=table))
  assert found.cell("ft", "FA").bounds == (0.7, 0.9)
  assert 0.84 < found.cell("ft", "FA").seeds_low < found.cell("ft", "FA").seeds_high < 0.86
  assert found.cell("ft", "TA").bounds == found.cell("ft", "TA")[-2:]


def test_differences_are_paired_and_turn_round():
  made = cases.data(SMALL)
  found = summary.summarise(made)
  wide = made.rows.pivot(index="seed", columns="method", values="FA")
  gap = found.difference("ft", "retrained", "FA")
  assert gap.mean == pytest.approx((wide["ft"] - wide["retrained"]).mean())
  back = found.difference("retrained", "ft", "FA")
  assert (back.mean, back.low, back.high) == (-gap.mean, -gap.high, -gap.low)
  given = {
    "metric": "FA",
    "method": "ft",
    "other": "retrained",
    "value": 1.0,
    "low": 0,
    "high": 2.0,
  }
  found = summary.summarise(cases.replace(made, differences=pd.DataFrame([given])))
  assert found.difference("retrained", "ft", "FA").bounds == (-2.0, 0.0)


def make(*entries, gaps=()):
  """Build a summary of RetDev cells (name, mean) and gaps (name, other, low, high)."""
  found = {(n, "RetDev"): Cell(5, m) for n, m in entries}
  apart = {
    (a, b, "RetDev"): Cell(1, (low + high) / 2, low=low, high=high) for a, b, low, high in gaps
  }
  return summary.Summary(found, tuple(e[0] for e in entries), {}, {}, apart)


def test_best_needs_a_paired_difference_from_all_others():
  clear = make(("a", 0.1), ("b", 0.2), gaps=[("b", "a", 0.08, 0.12)])
  assert summary.best(clear, "RetDev", {"a", "b"}) == ("a",)
  gaps = [("a", "b", -0.2, 0.01), ("a", "c", -0.5, -0.3), ("c", "b", 0.1, 0.3)]
  shared = make(("a", 0.1), ("b", 0.2), ("c", 0.5), gaps=gaps)
  assert summary.best(shared, "RetDev", {"a", "b", "c"}) == ("a", "b")
  assert summary.best(shared, "RetDev", {"b", "c"}) == ("b",)


def test_best_is_not_named_without_rivals_or_without_a_spread():
  assert summary.best(make(("a", 0.1)), "RetDev", {"a"}) == ()
  assert summary.best(make(("a", 0.1), ("b", 0.2)), "RetDev", {"a", "b"}) == ()
  lost = make(("a", math.nan), ("b", 0.2), gaps=[("a", "b", -1, 1)])
  assert summary.best(lost, "RetDev", {"a", "b"}) == ()


def test_a_destroyed_model_is_never_best():
  made = cases.data()
  found = summary.summarise(made)
  table = main_table.main(cases.judged(made))
  lines = {row.method: row for row in table.rows}
  place = [column.label for column in table.columns].index("Indisc")
  assert found.cell("ff", "Indisc").mean > found.cell("ct", "Indisc").mean
  assert lines["ff"].cells[place].standing == ""
  assert lines["ct"].cells[place].standing == SHARED


def test_the_floor_is_the_deviation_between_retrained_models():
  rows = pd.DataFrame(
    {"method": "retrained", "seed": [0, 1], "RA": [1.0, 0.5], "FA": [0.8, 0.8], "TA": [0.5, 0.5]}
  )
  of = lambda table: SimpleNamespace(rows=table, deviation="RetDev")
  assert summary.retraining_floor(of(rows)) == pytest.approx((1.0 + 0.5) / 2)
  assert math.isnan(summary.retraining_floor(of(rows[:1])))
  assert math.isnan(summary.retraining_floor(SimpleNamespace(rows=rows, deviation="gap")))


def test_the_resolution_of_a_split_is_that_of_a_fair_coin():
  made = cases.data(SMALL)
  assert summary.split_resolution(made) == pytest.approx(1.2 * 0.5 / math.sqrt(2 * 4250))
  unknown = SplitOrigin("0" * 64, {}, per_seed=False)
  made = cases.data(SMALL, manifest=cases.manifest(SMALL, split=unknown))
  assert math.isnan(summary.split_resolution(made))


@pytest.mark.parametrize(
  ("chunk", "devices", "shown"), [(1, 1, True), (1, 2, False), (5, 1, False)]
)
def test_a_clock_becomes_an_efficiency_only_where_models_ran_alone(chunk, devices, shown):
  device = Device("cpu", "cpu", devices)
  made = cases.data(SMALL, range(2), manifest=cases.manifest(SMALL, chunk=chunk, device=device))
  for name, seconds in (("retrained", 90.0), ("ft", 4.5)):
    made.timings[name] = dataclasses.replace(made.timings[name], wall_s=seconds)
  assert main_table.wall_rte(made).get("ft") == (20.0 if shown else None)
  header = results(cases.markdown(made))["FT"]
  assert header.get("RTE (clock)") == ("20.0" if shown else None)
  assert header["RTE"] == "13.7"


@pytest.mark.parametrize(
  ("value", "shown"),
  [
    (0.12345, "0.123"),
    (-0.5, "−0.500"),
    (-1e-9, "0.000"),
    (math.nan, "–"),
    (math.inf, "∞"),
    (-math.inf, "−∞"),
    (123456789.0, "1.2e+08"),
  ],
)
def test_numbers_have_fixed_decimals(value, shown):
  assert text.number(value) == shown


@pytest.mark.parametrize(
  ("value", "shown"),
  [(390.1, "390"), (44.4, "44.4"), (8.7, "8.70"), (0.0421, "0.0421"), (1, "1.00")],
)
def test_speed_ups_have_three_digits(value, shown):
  assert text.factor(value) == shown


def test_spread_and_interval_appear_only_where_they_exist():
  one = Cell(1, 0.5, math.nan, 0.5, 0.5, 0.5, math.nan, math.nan)
  assert (text.spread(one), text.interval(one), text.value(one)) == ("0.500", "", "0.500")
  many = Cell(3, 0.5, 0.1, 0.5, 0.4, 0.6, 0.4, 0.6)
  assert text.value(many) == "0.500 [0.400, 0.600]"
  assert text.spread(many) == "0.500 ± 0.100" and text.spread(Cell()) == "–"
  assert text.speed(many._replace(sd=0.0)) == "0.500"
  assert text.speed(many) == "0.500 ± 0.100"


def test_lists_and_counts_read_as_sentences():
  assert [text.listing(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
    "",
    "a",
    "a and b",
    "a, b and c",
  ]
  assert [text.plural(n, "seed") for n in (1, 2000)] == ["1 seed", "2,000 seeds"]
