"""Variances over splits and samples: derivatives by difference, sums by hand, Monte-Carlo truth."""

import numpy as np
import pytest
from scipy import stats

from jaxmu.audit.attacks.crossed import (
  density_weights,
  influence,
  influence_of_samples,
  share_bounds,
  t_interval,
  variance_of_mean,
  variance_of_share,
  variances,
)


def random_counts(seed=0, splits=5, samples=7):
  rng = np.random.default_rng(seed)
  cases = rng.integers(1, 5, (2, splits, samples)).astype(np.float32)
  right = rng.binomial(cases.astype(int), 0.6).astype(np.float32)
  return cases[0], right[0], cases[1], right[1]


def rates(counts, weights, factors):
  found = 0.0
  for cases, right, weight, factor in zip(counts[::2], counts[1::2], weights, factors):
    found += factor * (weight * right).sum() / (weight * cases).sum()
  return found


def test_influence_is_what_a_cell_moves():
  """Count a cell a little more than once: the derivative of the statistic, cell by cell."""
  counts, factors = random_counts(), (0.5, -1.7)
  weights = np.random.default_rng(1).random((2, 7))
  value, cells = influence(counts, weights, factors)
  assert value == pytest.approx(rates(counts, weights, factors))
  step = 1e-4
  for s, i in np.ndindex(cells.shape):
    scale = np.ones(cells.shape)
    scale[s, i] += step
    moved = rates([c * scale for c in counts], weights, factors) - value
    assert cells[s, i] == pytest.approx(moved / step, abs=2e-4)
  assert cells.sum() == pytest.approx(0)


def test_influence_of_samples_weighs_their_accuracies():
  counts, weight = random_counts(2), np.array([1.0, 0, 2, 0.5, 0, 1, 1])
  counts = [np.where(np.arange(7) == 4, 0.0, c.astype(float)) for c in counts]
  cells = influence_of_samples(counts, weight, 7)
  n, hits, m, rejections = counts
  rates = [right.sum(0) / np.maximum(c.sum(0), 1) for c, right in ((n, hits), (m, rejections))]
  common = [(weight * rate).sum() / weight.sum() for rate in rates]
  for i in range(7):
    if i in (1, 4):
      assert not cells[:, i].any()
      continue
    sides = (hits - n * common[0])[:, i] / n[:, i].sum(), (rejections - m * common[1])[:, i]
    expected = weight[i] / 7 * (sides[0] + sides[1] / m[:, i].sum()) / 2
    np.testing.assert_allclose(cells[:, i], expected)
  assert not influence_of_samples(counts, np.zeros(7), 7).any()


def test_variances_by_hand():
  cells = np.array([[1.0, 2, 0], [0, -1, 0]])
  found = variances(cells)
  assert found == pytest.approx((2 * (9 + 1), 2 * (1 + 1), 6))
  assert variance_of_mean(cells) == pytest.approx(20)  # samples less cells is negative
  assert variance_of_share(0.3, cells) == pytest.approx(0.3 + 14)
  assert np.isnan(variances(cells[:1])).all()
  assert np.isnan([variance_of_mean(cells[:1]), variance_of_share(0.3, cells[:1])]).all()


@pytest.mark.parametrize(("split", "sample"), [(0.3, 0.4), (0.5, 0.0), (0.0, 0.5)])
def test_variance_of_a_crossed_mean_is_the_true_one(split, sample):
  """Cells of split effects, sample effects and noise: the mean of estimates, and that of means."""
  rng, shape, found = np.random.default_rng(3), (12, 40), []
  for _ in range(1500):
    cells = split * rng.normal(size=(12, 1)) + sample * rng.normal(size=40)
    cells = cells + rng.normal(size=shape)
    found.append(variance_of_mean((cells - cells.mean()) / cells.size))
  true = split**2 / 12 + sample**2 / 40 + 1 / 480
  assert np.mean(found) == pytest.approx(true, rel=0.1)


def test_weights_are_a_density():
  values = np.random.default_rng(4).normal(3, 2, 100_000)
  width = np.linspace(-1, 1, 2001)
  smooth = np.average(stats.norm.pdf(0.5 + width), weights=1 - np.abs(width))
  assert density_weights(values, 4.0).mean() == pytest.approx(smooth / 2, rel=0.01)
  holes = density_weights(np.append(values, np.nan), 4.0)
  assert holes[-1] == 0
  np.testing.assert_array_equal(holes[:-1], density_weights(values, 4.0))
  assert not density_weights(np.ones(5), 1.0).any()
  assert not density_weights(np.full(5, np.nan), 1.0).any()


def test_t_interval():
  reach = stats.t.interval(0.9, 8)[1] * 0.5
  assert t_interval(2.0, 0.25, 9, 0.9) == pytest.approx((2, 2 - reach, 2 + reach))
  assert np.isnan(t_interval(2.0, np.nan, 1, 0.9)[1:]).all()


def test_bounds_of_independent_cases_are_those_of_jeffreys():
  low, high = share_bounds(0.03, 0.03 * 0.97 / 200, 200, 0.95)
  assert (low, high) == pytest.approx(stats.beta.ppf((0.025, 0.975), 6.5, 194.5))
  wider = share_bounds(0.03, 4 * 0.03 * 0.97 / 200, 200, 0.95)
  assert wider == pytest.approx(stats.beta.ppf((0.025, 0.975), 2, 49))
  few = share_bounds(0.03, 0.03 * 0.97 / 200, 200, 0.95, 7)
  assert few[0] < low < high < few[1]
  narrow = share_bounds(0.03, 1e-9, 200, 0.95)  # no more than there are cases
  assert narrow == pytest.approx((low, high))


@pytest.mark.parametrize("share", [0.01, 0.04, 0.3])
def test_bounds_hold_the_share_as_often_as_they_say(share):
  """All outcomes of a binomial, each as likely as it is."""
  hits = np.arange(301)
  bounds = [share_bounds(h / 300, h / 300 * (1 - h / 300) / 300, 300, 0.95) for h in hits]
  low, high = np.transpose(bounds)
  held = stats.binom.pmf(hits, 300, share)[(low <= share) & (share <= high)].sum()
  assert 0.91 < held < 0.98  # 0.918 for 3 cases expected, as discrete outcomes allow


def test_bounds_are_never_empty():
  low, high = share_bounds(0.0, 0.0, 100, 0.95)
  assert low == 0
  assert 0.02 < high < 0.04
  assert share_bounds(1.0, 0.0, 100, 0.95) == pytest.approx((1 - high, 1))
  assert np.isnan(share_bounds(0.5, np.nan, 100, 0.95)).all()
