"""Groups of methods: clusters in one dimension, counts over cells, and tests against the best."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jaxmu.audit import groups


def within(values, labels):
  return sum(np.square(values[labels == c] - values[labels == c].mean()).sum() for c in set(labels))


def test_three_clear_groups_and_failures():
  values = {"a": 0.1, "b": 0.12, "c": 0.5, "d": 0.52, "e": 2.0, "f": np.nan}
  found = groups.grouped(values)
  assert found == {"a": "G1", "b": "G1", "c": "G2", "d": "G2", "e": "G3", "f": "F"}


@pytest.mark.parametrize(
  ("values", "expected"),
  [({}, {}), ({"a": 1.0}, {"a": "G1"}), ({"a": 1.0, "b": 1.0}, {"a": "G1", "b": "G1"})],
)
def test_fewer_values_make_fewer_groups(values, expected):
  assert groups.grouped(values) == expected
  assert groups.grouped({"a": 1.0, "b": 2.0}) == {"a": "G1", "b": "G2"}


def test_merging_neighbours_of_least_cost_gives_the_same_cuts():
  """Ward's rule by hand: in one dimension only neighbours merge."""
  rng = np.random.default_rng(0)
  for _ in range(20):
    values = np.sort(rng.random(12))
    parts = [[v] for v in values]
    while len(parts) > 3:
      cost = [
        len(a) * len(b) / (len(a) + len(b)) * (np.mean(a) - np.mean(b)) ** 2
        for a, b in itertools.pairwise(parts)
      ]
      k = int(np.argmin(cost))
      parts[k : k + 2] = [parts[k] + parts[k + 1]]
    expected = [name for name, part in zip(groups.GROUPS, parts) for _ in part]
    found = groups.grouped({str(k): v for k, v in enumerate(values)})
    assert [found[str(k)] for k in range(12)] == expected


def rows(**means):
  rng = np.random.default_rng(1)
  noise = rng.normal(0, 0.01, 10)
  return pd.DataFrame(
    {"method": name, "seed": seed, "finite": True, "TR": 1.0, "RetDev": mean + own}
    for name, mean in means.items()
    for seed, own in enumerate(noise + rng.normal(0, 0.002, 10))
  )


def test_what_no_test_tells_from_the_best():
  table = rows(best=0.1, same=0.1005, worse=0.15, worst=0.3)
  names = ["best", "same", "worse", "worst"]
  assert groups.as_good_as_the_best(table, "RetDev", names) == {"best", "same"}
  assert groups.as_good_as_the_best(table[table["seed"] < 4], "RetDev", names) == set(names)
  broken = table.assign(TR=np.where(table["method"] == "best", 0.3, 1.0))
  assert groups.as_good_as_the_best(broken, "RetDev", names) == {"same"}
  assert groups.of_cell(broken, "RetDev", names)["best"] == "F"
  cell = groups.of_cell(table, "RetDev", names)
  assert groups.counted([cell, cell])["worst"] == {"G3": 2}


def test_holm_is_that_of_the_literature():
  p = [0.01, 0.04, 0.03, 0.005]
  np.testing.assert_allclose(groups.holm(p), [0.03, 0.06, 0.06, 0.02])
  assert groups.holm([]) == []
  false = np.random.default_rng(2).random((2000, 5))
  wrong = np.mean([min(groups.holm(row)) <= 0.05 for row in false])
  assert wrong == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 2000))
  assert stats.wilcoxon([1.0, 2, 3, 4, 5]).pvalue > 0.05  # five seeds cannot tell
