"""A part of bench/coverage.py: intervals hold the truth, equal methods are not called different."""

import runpy
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench" / "coverage.py"


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.6])
@pytest.mark.parametrize("correlation, members", [(0.0, 3), (0.8, 10)])
def test_intervals_cover(correlation, members, shift):
  bench = runpy.run_path(str(BENCH))
  rng = np.random.default_rng([7, members, int(10 * shift)])
  found = {name: [] for name in bench["SHOWN"]}
  different = []
  for _ in range(60):
    tables = bench["study"](correlation, shift, members, rng)
    for row in tables.intervals:
      if row["metric"] in found and row["method"] == "one":
        found[row["metric"]].append((row["value"], row["low"], row["high"]))
    different += [
      not row["low"] <= 0 <= row["high"]
      for row in tables.differences
      if {row["method"], row["other"]} == {"one", "other"} and row["metric"] == "T_strongest"
    ]
  for name, rows in found.items():
    value, low, high = np.array(rows).T
    truth = value.mean() if shift else 0.5
    assert ((low <= truth) & (truth <= high)).mean() >= 0.86, name
    if not shift:
      assert value.mean() == pytest.approx(0.5, abs=0.006)
    # Not by being too wide, either.
    assert (high - low).mean() < 1.6 * 2 * 1.96 * value.std(ddof=1), name
  assert len(different) == 60 and np.mean(different) <= 0.12
