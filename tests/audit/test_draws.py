"""Several forget sets of a seed: means over them, and intervals that do not count them as seeds."""

import math

import numpy as np
import pandas as pd
import pytest

from jaxmu.audit import comparison, metrics
from jaxmu.audit.draws import of_last_round, per_seed
from jaxmu.audit.intervals import two_way

SIZE = 40


def rows(draws, seeds=3, fail=(), metric="FA"):
  """Return rows and influences of a method: a metric of each forget set, by seed and draw."""
  rng = np.random.default_rng(0)
  made, moved = [], []
  for seed in range(seeds):
    for draw in range(draws):
      influence = rng.normal(size=SIZE).astype(np.float32) / SIZE
      finite = (seed, draw) not in fail
      value = rng.random() if finite else math.nan
      made.append({"method": "ft", "seed": seed, "draw": draw, "finite": finite, metric: value})
      moved.append({metric: influence - influence.mean()} if finite else {})
  return made, moved


def interval(made, moved):
  compared = comparison.Comparison()
  compared.add("ft", made, moved)
  return next(row for row in compared.tables().intervals if row["metric"] == "FA")


def test_an_interval_is_that_of_the_means_of_the_seeds():
  made, moved = rows(draws=4)
  values = np.array([row["FA"] for row in made]).reshape(3, 4).mean(1)
  influences = np.stack([one["FA"] for one in moved]).reshape(3, 4, SIZE).mean(1)
  known, found = two_way(values, influences), interval(made, moved)
  np.testing.assert_allclose([found["value"], found["high"]], [known.value, known.high], rtol=1e-6)


def test_the_same_forget_set_twice_is_no_more_evidence():
  made, moved = rows(draws=1)
  twice = [row | {"draw": draw} for row in made for draw in (0, 1)]
  once, both = interval(made, moved), interval(twice, [one for one in moved for _ in range(2)])
  np.testing.assert_allclose([both["low"], both["high"]], [once["low"], once["high"]], rtol=1e-6)
  many = [row | {"seed": 10 * row["seed"] + row["draw"], "draw": 0} for row in twice]
  as_seeds = interval(many, [one for one in moved for _ in range(2)])
  assert as_seeds["high"] - as_seeds["low"] < both["high"] - both["low"]


def test_a_difference_pairs_forget_sets_that_are_finite_in_both():
  name = "T_strongest"
  one, other = rows(2, metric=name), rows(2, fail={(0, 1)}, metric=name)
  moved = [row | {"method": "ga", name: row[name] ** 2} for row in other[0]]
  tables = comparison.tables({"ft": one[0], "ga": moved}, {"ft": one[1], "ga": other[1]})
  (gap,) = [row for row in tables.differences if row["metric"] == name]
  seeds = [[], [], []]
  for first, second in zip(one[0], moved):
    if second["finite"]:
      seeds[first["seed"]].append(first[name] - second[name])
  assert list(map(len, seeds)) == [1, 2, 2]
  assert gap["value"] == pytest.approx(np.mean([np.mean(own) for own in seeds]))


def test_rows_of_seeds_are_means_of_the_finite_forget_sets_after_the_last_round():
  table = pd.DataFrame(
    [
      {"method": "ft", "seed": 0, "draw": d, "round": r, "finite": (d, r) != (1, 2), "FA": fa}
      | {"T_attack": word, "failed_steps": "" if (d, r) != (1, 2) else "epoch 1"}
      for (d, r), fa, word in (
        ((0, 1), 0.1, "margin"),
        ((0, 2), 0.2, "entropy"),
        ((1, 1), 0.3, "margin"),
        ((1, 2), math.nan, ""),
        ((2, 1), 0.5, "margin"),
        ((2, 2), 0.6, "entropy"),
      )
    ]
  )
  (row,) = per_seed(of_last_round(table)).to_dict("records")
  assert row["FA"] == pytest.approx(0.4)
  assert (row["seed"], row["round"], row["finite"]) == (0, 2, True)
  assert (row["T_attack"], row["failed_steps"], "draw" in row) == ("entropy", "", False)
  without = table.drop(columns=["draw", "round"])
  assert per_seed(of_last_round(without)) is without


def test_each_forget_set_is_compared_with_its_own_retrained_model():
  of = lambda name, seed, draw, ra: {
    "method": name,
    "seed": seed,
    "draw": draw,
    "finite": True,
    "RA": ra,
    "FA": 0.5,
    "TA": 0.5,
    "T_MIA": 0.5,
  }
  retrained = [of("retrained", 0, 0, 0.5), of("retrained", 0, 1, 0.8)]
  found = metrics.derive([of("ft", 0, 0, 0.6), of("ft", 0, 1, 0.6)], retrained)
  assert [row["RR"] for row in found] == [pytest.approx(1.2), pytest.approx(0.75)]
