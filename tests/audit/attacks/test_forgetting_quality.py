"""Forgetting quality: points by hand, rules against a grid and random search, the noise ceiling."""

import numpy as np
import pytest

from jaxmu.audit.attacks import forgetting_quality as module
from jaxmu.audit.attacks.forgetting_quality import (
  challenge_score,
  epsilons,
  forgetting_quality,
  points,
  quality_ceiling,
)
from jaxmu.errors import DataError


def noise(models=64, samples=200, seed=0, scale=1.0):
  return scale * np.random.default_rng(seed).normal(size=(2, models, samples))


def epsilon_of(fpr, fnr):
  """Steps 4 and 5 of spec evaluation 10 for one rule."""
  if fpr == 0 and fnr == 0:
    return 50.0
  if fpr == 0 or fnr == 0:
    return 0.0
  terms = [0.0]
  for a, b in ((fpr, fnr), (fnr, fpr)):
    if 1 - 1e-5 - a > 0:
      terms.append(np.log(1 - 1e-5 - a) - np.log(b))
  return min(50.0, max(terms))


def best_threshold(u, r):
  positive, negative = (r, u) if np.median(r) > np.median(u) else (u, r)
  cuts = np.concatenate([u, r])
  return max(epsilon_of((negative >= t).mean(), (positive < t).mean()) for t in cuts)


def test_points_halve_every_half_epsilon_up_to_the_last_bin():
  found = points(np.array([0, 0.49, 0.5, 6.99, 7, 50]), 512)
  np.testing.assert_array_equal(found, [1, 1, 0.5, 2.0**-13, 0, 0])
  np.testing.assert_array_equal(points(np.array([4.99, 5.0]), 64), [2.0**-9, 0])


def test_the_same_distribution_scores_far_below_one():
  """The ceiling of spec evaluation 13.7, and with thresholds alone."""
  unlearned, retrained = noise()
  assert forgetting_quality(unlearned, retrained) == pytest.approx(0.18, abs=0.03)
  assert epsilons(unlearned, retrained).mean() == pytest.approx(1.55, abs=0.1)
  found = epsilons(*noise(samples=1000), rules="thresholds")
  assert points(found, 64).mean() == pytest.approx(0.35, abs=0.03)
  assert found.mean() == pytest.approx(1.15, abs=0.05)


def test_ceiling_from_halves_of_the_retrained_models():
  retrained = np.concatenate([*noise()])
  assert quality_ceiling(retrained, draws=2) == pytest.approx(0.18, abs=0.03)
  assert quality_ceiling(retrained, rules="thresholds") > 0.3
  assert quality_ceiling(retrained, seed=1) != quality_ceiling(retrained, seed=2)
  # Models that differ in pairs of halves, but not from one another, stay at the ceiling.
  shifted = retrained + np.arange(200)
  assert quality_ceiling(shifted) == pytest.approx(quality_ceiling(retrained), abs=0.02)


def test_separated_models_score_nothing():
  unlearned, retrained = noise(samples=20)
  assert forgetting_quality(unlearned + 20, retrained) == 0
  np.testing.assert_array_equal(epsilons(unlearned - 20, retrained), 50)


def test_a_narrow_distribution_inside_a_wide_one_is_found_by_intervals():
  unlearned, retrained = noise(samples=30)
  # Without overlap in the middle only an interval tells them apart.
  retrained = np.sign(retrained) * (4 + np.abs(retrained))
  np.testing.assert_array_equal(epsilons(unlearned, retrained), 50)
  assert epsilons(unlearned, retrained, rules="thresholds").max() < 5
  np.testing.assert_array_equal(epsilons(retrained, unlearned), 50)


def test_a_hundredth_of_the_range_is_caught_even_where_no_rule_is():
  _, retrained = noise(samples=5, scale=10)
  unlearned = np.repeat(np.median(retrained, 0)[None], 64, 0)
  unlearned[0] += 0.009 * np.ptp(retrained, 0)
  np.testing.assert_array_equal(epsilons(unlearned, retrained, rules="thresholds"), 50)
  unlearned[0] += 0.002 * np.ptp(retrained, 0)
  assert epsilons(unlearned, retrained, rules="thresholds").max() < 50


def test_constant_scores():
  same, other = np.zeros((9, 2)), np.array([[0.0, 1.0]]).repeat(9, 0)
  np.testing.assert_array_equal(epsilons(same, other), [0, 50])


@pytest.mark.parametrize("decimals", [1, 12])
def test_thresholds_equal_a_loop_over_cut_points(decimals):
  """Rounded to a tenth, many scores are equal and no cut may separate them."""
  unlearned, retrained = np.round(noise(16, 40, seed=3), decimals)
  unlearned += 0.5
  found = epsilons(unlearned, retrained, rules="thresholds")
  expected = [best_threshold(u, r) for u, r in zip(unlearned.T, retrained.T)]
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_intervals_equal_a_random_search_among_the_allowed_ones():
  rng = np.random.default_rng(4)
  unlearned, retrained = noise(12, 12, seed=5, scale=3)
  retrained *= 1.5
  found = epsilons(unlearned, retrained)
  searched = []
  for u, r in zip(unlearned.T, retrained.T):
    positive, negative = (r, u) if np.ptp(r) < np.ptp(u) else (u, r)
    right = positive.max() + rng.uniform(-2, 2, 40_000)
    left = right - np.ptp(positive) + rng.uniform(-2, 2, 40_000)
    hits, errors = (
      np.searchsorted(np.sort(side), right, "right") - np.searchsorted(np.sort(side), left)
      for side in (positive, negative)
    )
    pairs = {(max(e, 0), max(h, 0)) for e, h in zip(errors, hits)}
    best = max(epsilon_of(e / 12, 1 - h / 12) for e, h in pairs)
    searched.append(max(best, best_threshold(u, r)))
  assert (found >= np.array(searched) - 1e-12).all()
  assert np.isclose(found, searched).mean() > 0.9


def test_allowed_intervals_are_those_that_random_ends_reach():
  """Right end within 2 of the maximum of the narrower scores, width within 2 of their range."""
  rng = np.random.default_rng(8)
  for _ in range(5):
    positive, negative = 3 * rng.normal(size=8), 6 * rng.normal(size=8)
    cuts = np.concatenate([[-np.inf], np.sort([*positive, *negative]), [np.inf]])
    right = positive.max() + rng.uniform(-2, 2, 200_000)
    left = right - np.ptp(positive) + rng.uniform(-2, 2, 200_000)
    ends = np.searchsorted(cuts[1:-1], left), np.searchsorted(cuts[1:-1], right, "right")
    reached = {(i, j) for i, j in zip(*ends) if i < j}
    first, last = np.triu_indices(17, 1)
    allowed = module._near(cuts[None], first, last, positive[None])[0]
    found = set(zip(first[allowed], last[allowed]))
    assert reached <= found
    assert len(found - reached) <= 0.03 * len(found)
    assert 5 < len(found) < 0.7 * len(first)


def test_the_reference_s_grid_finds_almost_the_same():
  unlearned, retrained = noise(samples=60, seed=6)
  grid = epsilons(unlearned, retrained, compat_grid=True)
  exact = epsilons(unlearned, retrained)
  assert (grid <= exact + 1e-12).all()
  assert np.isclose(grid, exact).mean() > 0.8
  coarse = epsilons(unlearned, retrained, compat_grid=True, rules="thresholds")
  assert (coarse <= grid + 1e-12).all()


def test_the_grid_cannot_see_scales_below_a_hundredth():
  """Rules hardly depend on the scale of scores, but a fixed grid finds ever fewer of them."""
  unlearned, retrained = noise(samples=100, seed=9, scale=0.02)
  assert forgetting_quality(unlearned, retrained) == pytest.approx(0.08, abs=0.02)
  assert forgetting_quality(unlearned, retrained, compat_grid=True) > 0.17


@pytest.mark.filterwarnings("error")
def test_scores_of_any_size_are_compared_quietly():
  unlearned, retrained = noise(16, 6)
  unlearned[:, :3] *= 1e300
  found = epsilons(unlearned, retrained)
  assert np.isfinite(found).all()
  np.testing.assert_array_equal(found[:3], 50)


def test_blocks_of_samples_change_nothing(monkeypatch):
  unlearned, retrained = noise(16, 30, seed=7)
  expected = epsilons(unlearned, retrained)
  monkeypatch.setattr(module, "_CHUNK", 1)
  np.testing.assert_array_equal(epsilons(unlearned, retrained), expected)


def test_final_score_multiplies_the_accuracy_ratios():
  assert challenge_score(0.5, (0.9, 0.8), (1.0, 0.9)) == pytest.approx(0.5 * 0.9 * 0.8 / 0.9)


def test_mistakes_are_named():
  with pytest.raises(DataError, match=r"unlearned \(4, 2\) and retrained \(5, 2\)"):
    epsilons(np.zeros((4, 2)), np.zeros((5, 2)))
  with pytest.raises(DataError, match=r"expected the same \[K, N\] with K at least 3"):
    epsilons(np.zeros((2, 2)), np.zeros((2, 2)))
  with pytest.raises(DataError, match="model 3 has scores that are not finite"):
    epsilons(np.zeros((4, 2)), np.array([[0, 0], [0, 0], [0, 0], [0, np.nan]]))
  with pytest.raises(ValueError, match="rules must be 'all' or 'thresholds', got 'both'"):
    epsilons(np.zeros((4, 2)), np.zeros((4, 2)), rules="both")
  with pytest.raises(DataError, match=r"scores \(4, 0\) are empty; expected at least one sample"):
    epsilons(np.zeros((4, 0)), np.zeros((4, 0)))
  wide = np.array([[0.0], [0], [0], [2e5]])
  with pytest.raises(DataError, match=r"2e\+05 apart, too far for 100 cut points per unit"):
    epsilons(wide, wide, compat_grid=True)
  with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
    quality_ceiling(np.zeros((8, 2)), draws=0)
