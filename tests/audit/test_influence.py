"""Influences are derivatives: against weighted metrics whose weights are moved a little."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxmu.audit import comparison, evaluation, influence, metrics
from jaxmu.audit.attacks.population_mia import population_mia

RNG = np.random.default_rng(0)
N, C = 240, 4
PARTS = zip(("retain", "forget", "val", "test"), np.split(np.arange(N), [100, 140, 180]))
SPLIT = SimpleNamespace(**dict(PARTS))
LABELS = RNG.integers(0, C, N)


def logits(members=3, known=140, seed=0):
  rng = np.random.default_rng(seed)
  found = rng.normal(0, 1.5, (members, N, C))
  found[:, np.arange(N), LABELS] += np.where(np.arange(N) < known, 3, 1)
  return found


def slope(value, weights=N, step=1e-6):
  """Return the derivative of `value(weights)` for each weight, mean-centred within nothing."""
  base = np.ones(weights)
  found = np.empty(weights)
  for i in range(weights):
    moved = base.copy()
    moved[i] += step
    found[i] = (value(moved) - value(base)) / step
  return found


def weighted_mean(x, w):
  return (x * w).sum() / w.sum()


def test_of_a_mean():
  right = RNG.integers(0, 2, N).astype(float)
  found = influence.of_mean(right[SPLIT.test], SPLIT.test, N)
  expected = slope(lambda w: weighted_mean(right[SPLIT.test], w[SPLIT.test]))
  np.testing.assert_allclose(found, expected, atol=1e-6)
  assert not influence.of_mean(np.zeros(0), np.zeros(0, int), N).any()


@pytest.mark.parametrize("decimals", [0, 6])
def test_of_the_area_under_the_curve(decimals):
  losses = np.round(RNG.exponential(1, N), decimals)
  a, b = losses[SPLIT.test], losses[SPLIT.forget]
  wins = (b[:, None] < a) + 0.5 * (b[:, None] == a)

  def area(w):
    u, v = w[SPLIT.test] / w[SPLIT.test].sum(), w[SPLIT.forget] / w[SPLIT.forget].sum()
    return v @ wins @ u

  found = influence.of_auc(losses, (SPLIT.test, SPLIT.forget))
  np.testing.assert_allclose(found, slope(area), atol=1e-6)


def test_of_guesses_and_credits():
  losses = RNG.exponential(1, N)
  losses[SPLIT.forget] *= 0.6
  result = population_mia(losses[SPLIT.test], losses[SPLIT.forget])
  assert result.forget.asked.sum() == result.unseen.asked.sum()
  total = result.forget.right.sum() + result.unseen.right.sum()
  assert result.accuracy == pytest.approx(total / (2 * result.forget.asked.sum()))
  found = influence.of_guesses((result.unseen, result.forget), (SPLIT.test, SPLIT.forget), N)

  def accuracy(w):  # of fixed guesses, sides balanced
    sides = ((result.unseen, SPLIT.test), (result.forget, SPLIT.forget))
    rates = [(g.right @ w[i]) / (g.asked @ w[i]) for g, i in sides]
    return sum(rates) / 2

  np.testing.assert_allclose(found, slope(accuracy), atol=1e-6)
  credit = RNG.integers(0, 2, (2, 40)).astype(float)
  credit[1, :4] = np.nan
  sets = SPLIT.forget, SPLIT.val
  found = influence.of_credits(tuple(credit), sets, N)

  def balanced(w):
    known = [(c[np.isfinite(c)], w[i][np.isfinite(c)]) for c, i in zip(credit, sets)]
    return sum(weighted_mean(*pair) for pair in known) / 2

  np.testing.assert_allclose(found, slope(balanced), atol=1e-6)


def test_derived_metrics_follow_the_chain_rule():
  own, other = (
    evaluation.measure(logits(1, k, s), LABELS, LABELS, SPLIT, method=m, seeds=(0,), passes=1.0)
    for k, s, m in ((140, 0, "ft"), (100, 1, "retrained"))
  )
  (row,) = metrics.derive(own.rows, other.rows)
  found = metrics.influences(own.influences[0], row, other.influences[0], other.rows[0])
  step = 1e-6
  for i in RNG.choice(N, 30, replace=False):
    moved = [
      {k: r[k] + step * float(m[k][i]) for k in ("RA", "FA", "TA", "T_MIA", "V_MIA")}
      | {"passes": 1.0}
      for r, m in ((own.rows[0], own.influences[0]), (other.rows[0], other.influences[0]))
    ]
    after = metrics.compare(*moved)
    for name in ("RR", "FR", "TR", "RetDev", "Disc", "Indisc", "V_Indisc"):
      slope_ = (after[name] - row[name]) / step
      assert found[name][i] == pytest.approx(slope_, abs=2e-4), name


def test_tables_hold_every_method_and_every_pair():
  measured = {
    name: evaluation.measure(
      logits(4, known, seed), LABELS, LABELS, SPLIT, method=name, seeds=range(4), passes=1.0
    )
    for name, known, seed in (("original", 140, 0), ("retrained", 100, 1), ("ft", 120, 2))
  }
  rows = {n: metrics.derive(m.rows, measured["retrained"].rows) for n, m in measured.items()}
  found = comparison.tables(rows, {n: m.influences for n, m in measured.items()})
  single = {(r["method"], r["metric"]): r for r in found.intervals}
  assert {m for m, _ in single} == set(measured)
  for (name, metric), row in single.items():
    assert row["value"] == pytest.approx(np.mean([r[metric] for r in rows[name]]))
    assert row["low"] <= row["value"] <= row["high"]
  paired = {(r["metric"], r["method"], r["other"]): r for r in found.differences}
  assert {("RetDev", "original", "ft"), ("T_MIA", "retrained", "ft")} <= set(paired)
  assert ("T_MIA", "original", "ft") not in paired
  row = paired["FA", "original", "retrained"]
  gaps = [a["FA"] - b["FA"] for a, b in zip(rows["original"], rows["retrained"])]
  assert row["value"] == pytest.approx(np.mean(gaps)) and row["low"] > 0.1


def test_a_difference_is_surer_than_two_intervals():
  """Two methods share samples: what makes one easy to attack makes the other easy, too."""
  rng = np.random.default_rng(5)
  common = logits(1, 140, 3)
  measured = {}
  for name in ("retrained", "one", "other"):
    own, known = common + 0.3 * rng.normal(size=(4, N, C)), (LABELS, LABELS, SPLIT)
    measured[name] = evaluation.measure(own, *known, method=name, seeds=range(4), passes=1.0)
  rows = {n: metrics.derive(m.rows, measured["retrained"].rows) for n, m in measured.items()}
  found = comparison.tables(rows, {n: m.influences for n, m in measured.items()})
  width = lambda row: row["high"] - row["low"]
  alone = [width(r) for r in found.intervals if r["metric"] == "T_AUC" and r["method"] == "one"]
  apart = [width(r) for r in found.differences if r["metric"] == "T_AUC" and r["method"] == "one"]
  apart += [width(r) for r in found.differences if r["metric"] == "T_AUC" and r["other"] == "one"]
  assert apart and max(apart) < 0.7 * alone[0]


def test_failed_members_have_no_part():
  values = logits(3)
  values[1, 3, 2] = np.nan
  measured = {
    name: evaluation.measure(values, LABELS, LABELS, SPLIT, method=name, seeds=range(3), passes=1.0)
    for name in ("retrained", "ft")
  }
  assert not measured["ft"].influences[1]
  rows = {n: metrics.derive(m.rows, measured["retrained"].rows) for n, m in measured.items()}
  found = comparison.tables(rows, {n: m.influences for n, m in measured.items()})
  (row,) = [r for r in found.intervals if (r["method"], r["metric"]) == ("ft", "FA")]
  assert row["value"] == pytest.approx(np.mean([rows["ft"][k]["FA"] for k in (0, 2)]))
