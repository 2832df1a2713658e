"""Summaries: a table by hand, pairing, and the coverage of the interval."""

import numpy as np
import pandas as pd
import pytest

from jaxmu.audit import metrics, statistics

RNG = np.random.default_rng(0)
SEEDS = 10


def synthetic_rows():
  """Ten stored rows each of the retrained models and of one method, of which one member failed."""
  frames = []
  for method, forget, passes in (("retrained", 0.80, 900.0), ("msg", 0.84, 300.0)):
    rows = []
    common = {"method": method, "finite": True, "failed_steps": "", "passes": passes}
    for s in range(SEEDS):
      accuracies = {"RA": 0.99, "FA": forget + 0.004 * s, "VA": 0.8, "TA": 0.8 + 0.002 * (s % 3)}
      attacks = {"V_MIA": 0.5, "T_MIA": 0.5 + 0.01 * (-1) ** s}
      rows.append({**common, "seed": s, **accuracies, **attacks})
    frames.append(rows)
  retrained, method = frames
  method[7] = method[7] | {"finite": False, "FA": np.nan, "RA": np.nan, "T_MIA": np.nan}
  rows = metrics.derive(retrained + method, retrained)
  return pd.DataFrame(rows)


def line(table, method, metric):
  found = table[(table.method == method) & (table.metric == metric)]
  assert len(found) == 1
  return found.iloc[0]


def test_aggregation_reproduces_a_table_from_ten_stored_rows():
  table = statistics.summarise(synthetic_rows())
  assert list(table.columns) == [
    *("method", "metric", "n", "n_failed", "mean", "sd", "median", "q25", "q75", "iqr"),
    *("seeds_low", "seeds_high"),
  ]
  assert list(dict.fromkeys(table.method)) == ["retrained", "msg"]
  forget = line(table, "retrained", "FA")
  assert (forget.n, forget.n_failed) == (10, 0)
  # 0.80, 0.804 ... 0.836: mean 0.818, sample SD 0.004 sqrt(110 / 12), quartiles by interpolation.
  assert forget["mean"] == pytest.approx(0.818)
  assert forget.sd == pytest.approx(0.004 * np.sqrt(110 / 12))
  assert (forget["median"], forget.iqr) == (pytest.approx(0.818), pytest.approx(0.018))
  assert (forget.q25, forget.q75) == (pytest.approx(0.809), pytest.approx(0.827))
  assert 0.809 < forget.seeds_low < 0.818 < forget.seeds_high < 0.827
  kept = [s for s in range(SEEDS) if s != 7]
  ratio = line(table, "msg", "FR")
  assert (ratio.n, ratio.n_failed) == (9, 1)
  assert ratio["mean"] == pytest.approx(
    np.mean([(0.84 + 0.004 * s) / (0.80 + 0.004 * s) for s in kept])
  )
  assert line(table, "msg", "RTE_work")["mean"] == pytest.approx(3)


def test_both_orders_of_averaging_are_there_and_differ():
  table = statistics.summarise(synthetic_rows())
  # Attacks at 0.49 and 0.51 in turn: each is discernible, their mean is not.
  assert line(table, "retrained", "Indisc")["mean"] == pytest.approx(0.98)
  of_means = line(table, "retrained", "Indisc_of_means")
  assert of_means["mean"] == pytest.approx(1.0)
  kept = np.array([s for s in range(SEEDS) if s != 7])
  ratio = line(table, "msg", "FR_of_means")
  expected = (0.84 + 0.004 * kept.mean()) / (0.80 + 0.004 * kept.mean())
  assert (ratio.n, ratio.n_failed) == (9, 1)
  assert ratio["mean"] == pytest.approx(expected)
  assert ratio.seeds_low < expected < ratio.seeds_high and np.isnan(ratio.sd)


def test_intervals_do_not_depend_on_the_order_of_methods():
  rows = synthetic_rows()
  turned = pd.concat([rows[rows.method == "msg"], rows[rows.method == "retrained"]])
  first, second = (
    statistics.summarise(r).sort_values(["method", "metric"], ignore_index=True)
    for r in (rows, turned)
  )
  pd.testing.assert_frame_equal(first, second)


def test_one_seed_has_no_spread_and_none_has_nothing():
  one = statistics.describe(np.array([0.7]))
  assert one["n"] == 1 and one["mean"] == one["median"] == 0.7 and one["iqr"] == 0
  assert np.isnan([one["sd"], one["seeds_low"], one["seeds_high"]]).all()
  none = statistics.describe(np.array([np.nan]))
  assert none.pop("n") == 0 and np.isnan(list(none.values())).all()
  rows = synthetic_rows()
  failed = rows.assign(finite=rows.method != "msg")
  table = statistics.summarise(failed)
  assert (line(table, "msg", "FA").n, line(table, "msg", "FA").n_failed) == (0, 10)
  assert not table.metric[table.method == "msg"].str.endswith("_of_means").any()


def test_interval_equals_a_naive_bootstrap_at_the_expanded_level():
  values = RNG.normal(0, 1, 12)
  rng = np.random.default_rng(5)
  draws = rng.integers(0, 12, (500, 12))
  means = [values[row].mean() for row in draws]
  # n = 12: t_{11}(0.95) = 1.795885, times sqrt(12/11) is 1.875737, and Phi(-1.875737) = 0.030346
  naive = np.quantile(means, (0.030346, 1 - 0.030346))
  found = statistics.describe(values, bootstrap=500, level=0.9, seed=5)
  np.testing.assert_allclose([found["seeds_low"], found["seeds_high"]], naive, atol=1e-5)


@pytest.mark.parametrize(("n", "expected"), [(5, 0.915), (10, 0.95), (40, 0.95)])
def test_coverage_of_the_interval(n, expected):
  """Monte-Carlo truth: 95 % of the intervals hold the mean from ten seeds on (plain: 0.90).

  Five values have too few distinct resamples to reach it.
  """
  trials = 1500
  samples = RNG.normal(0, 1, (n, trials))
  means = statistics.resampled_means(samples, 1000)
  held = 0
  for column in means.T:
    low, high = statistics.percentile_interval(column, n)
    held += low < 0 < high
  assert held / trials == pytest.approx(expected, abs=0.025)
