"""AUC and TPR at low false-positive rates: values of public functions, influences by loops."""

import numpy as np
import pytest
from scipy import stats

from jaxmu.audit.attacks import tails
from jaxmu.audit.attacks.crossed import influence, share_bounds, variance_of_mean
from jaxmu.audit.attacks.population_scores import auc, tpr_at_fpr
from jaxmu.audit.attacks.tails import pairs_needed, pooled_intervals


def pooled(scores, roles, splits, worth=None, rates=(0.01,), level=0.95):
  """Count pairs, and ask."""
  names = np.unique(splits)
  counted = lambda mask: np.stack([mask[splits == name].sum(0) for name in names])
  pairs = [counted((roles == side) & ~np.isnan(scores)) for side in (2, 0)]
  worth = np.ones(scores.shape[1]) if worth is None else worth
  return pooled_intervals(scores, roles, splits, (2, 0), pairs, worth, rates, level)


def attack(seed=0, models=40, samples=300, ties=False, members=0.3):
  rng = np.random.default_rng(seed)
  roles = np.where(rng.random((models, samples)) < members, 2, 0)
  scores = rng.normal(size=roles.shape) + 0.7 * (roles == 2)
  scores[rng.random(roles.shape) < 0.1] = np.nan
  worth = rng.choice([0, 0.5, 2], samples)
  return np.round(2 * scores) if ties else scores, roles, rng.permutation(models) // 2, worth


@pytest.mark.parametrize("ties", [False, True])
def test_values_are_those_of_the_public_functions(ties):
  scores, roles, splits, worth = attack(ties=ties)
  found = pooled(scores, roles, splits, worth, (0.02, 0.1))
  masks = [(roles == side) & ~np.isnan(scores) & (worth > 0) for side in (2, 0)]
  members, others = (scores[mask] for mask in masks)
  weights = np.broadcast_to(worth, scores.shape)[masks[1]]
  assert found[0].value == pytest.approx(auc(members, others, weights), abs=1e-12)
  expected = tpr_at_fpr(members, others, (0.02, 0.1), weights)
  np.testing.assert_allclose([i.value for i in found[1:]], expected)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_has_the_variance_of_exact_placements(ties):
  """Placements of all pairs by comparison with all others, ties half."""
  scores, roles, splits, _ = attack(1, 20, 40, ties)
  asked = [(roles == side) & ~np.isnan(scores) for side in (2, 0)]
  sums = np.zeros((2, 10, 40))
  for k, sign in ((0, 1), (1, -1)):
    against = scores[asked[1 - k]]
    for m, i in zip(*np.nonzero(asked[k])):
      gap = sign * (scores[m, i] - against)
      sums[k, splits[m], i] += ((gap > 0) + 0.5 * (gap == 0)).mean()
  pairs = [np.stack([a[splits == s].sum(0) for s in range(10)]) for a in asked]
  cells = influence((pairs[0], sums[0], pairs[1], sums[1]), np.ones((2, 40)), (1, 1))[1]
  reach = stats.t.ppf(0.975, 9) * np.sqrt(variance_of_mean(cells))
  found = pooled(scores, roles, splits)[0]
  assert found.high - found.value == pytest.approx(reach, rel=0.02)
  assert found.value - found.low == pytest.approx(reach, rel=0.02)


def test_tpr_of_independent_pairs_has_the_theoretical_error():
  """Every model a split of its own: binomial noise of the members, and that of the threshold."""
  rng = np.random.default_rng(2)
  roles = np.repeat([2, 0], [60, 200])[:, None].repeat(200, 1)
  scores = rng.normal(size=roles.shape) + 1.5 * (roles == 2)
  found = pooled(scores, roles, np.arange(260), rates=(0.01,))[1]
  threshold = stats.norm.isf(0.01)
  tpr = stats.norm.sf(threshold - 1.5)
  slope = stats.norm.pdf(threshold - 1.5) / stats.norm.pdf(threshold)
  error = np.sqrt(tpr * (1 - tpr) / 12_000 + slope**2 * 0.01 * 0.99 / 40_000)
  assert found.low < tpr < found.high
  assert (found.high - found.low) / 3.94 == pytest.approx(error, rel=0.15)


def test_pairs_of_a_split_widen_the_interval():
  """The same scores, as models of a split that all say the same."""
  scores, roles, splits, _ = attack(3, 40, 400)
  alone = pooled(scores, roles, splits)[1]
  copies = [np.repeat(x, 6, axis=0) for x in (scores, roles, splits)]
  copied = pooled(*copies)[1]
  assert copied.value == alone.value
  assert copied[1:] == pytest.approx(alone[1:], rel=0.02)


def test_a_rate_without_enough_pairs_is_not_resolved():
  """Models of one split and sample count as one pair."""
  assert pairs_needed(0.01) == pytest.approx(1000)
  rng = np.random.default_rng(4)
  roles = np.repeat([2, 0], [20, 20])[:, None].repeat(100, 1)
  scores = rng.normal(size=roles.shape)
  shared = pooled(scores, roles, np.arange(40) // 4, rates=(0.01, 0.02))  # 500 pairs
  assert np.isnan(shared[1]).all()
  assert np.isfinite(shared[2]).all()
  assert np.isfinite(pooled(scores, roles, np.arange(40))[1]).all()  # 2,000


def test_no_member_above_the_threshold_is_no_proof_of_none():
  """The bound of zero among so many (split, sample) pairs of members, not an empty interval."""
  rng = np.random.default_rng(5)
  roles = np.repeat([2, 0], [10, 50])[:, None].repeat(100, 1)
  scores = rng.normal(size=roles.shape) - 9 * (roles == 2)
  found = pooled(scores, roles, np.arange(60))[1]
  assert found[:2] == (0, 0)
  assert found.high == pytest.approx(stats.beta.isf(0.025, 0.5, 1000.5), rel=0.1)
  certain = pooled(-scores, roles, np.arange(60))[1]
  assert certain[::2] == (1, 1)
  assert 0.99 < certain.low < 1


def test_few_splits_widen_a_tpr_as_a_t_quantile_does(monkeypatch):
  monkeypatch.setattr(tails, "variance_of_mean", lambda cells: 1e-4)
  scores, roles, splits, _ = attack(7)
  found = pooled(scores, roles, splits % 5, rates=(0.02,))[1]
  assert found[1:] == pytest.approx(share_bounds(found.value, 1e-4, 1e9, 0.95, 4))


def test_scores_at_the_threshold_are_not_above_it():
  scores, roles, splits, worth = attack(8, ties=True)
  masks = [(roles == side) & ~np.isnan(scores) & (worth > 0) for side in (2, 0)]
  tables = np.arange(3), (np.zeros(4), np.ones(4))
  sums = tails._sums(scores, splits, masks, tables, np.array([1.0]))
  for mask, (placed, above), value in zip(masks, sums, (0, 1)):
    for s in range(20):
      np.testing.assert_array_equal(placed[s], value * mask[splits == s].sum(0))
      np.testing.assert_array_equal(above[s], (mask & (scores > 1))[splits == s].sum(0))


def test_slope_is_that_of_the_curve():
  members = np.sort(np.random.default_rng(6).random(20_000)) ** 0.5  # the curve is 1 - (1 - f)^2
  others = np.linspace(0, 1, 10_001)
  total = np.arange(10_002.0)
  assert tails._slope(members, others, total, 0.05) == pytest.approx(
    2 - (0.15 + 0.05 / 3), rel=0.05
  )
