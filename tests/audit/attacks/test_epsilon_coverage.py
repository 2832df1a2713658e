"""Bounds on epsilon over simulated studies: how often they exceed the truth, and what they find."""

import functools

import numpy as np
import pytest
from scipy.stats import norm

from jaxmu.audit.attacks.epsilon import clopper_pearson, epsilon_bound, gdp_epsilon
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED

DESIGNS = [(32, 4, 300), (16, 2, 400)]  # splits, forget draws, samples
MUS = (0.0, 0.5, 1.0, 2.0)
SPLIT_SD, CELL_SD = 0.3, 0.5


def study(seed, design, mu, effects):
  """Scores mu standard deviations higher where forgotten; what a split's models share is effects.

  Each split trains on a random half of the samples, each draw forgets a random tenth of it.
  """
  splits, draws, samples = design
  rng = np.random.default_rng(seed)
  roles = np.full((splits, draws, samples), NEVER, np.int8)
  for split in roles:
    train = rng.permutation(samples)[: samples // 2]
    split[:, train] = RETAINED
    for draw in split:
      draw[rng.permutation(train)[: samples // 20]] = FORGOTTEN
  scores, sd = rng.normal(size=roles.shape), 1.0
  if effects:
    scores += SPLIT_SD * rng.normal(size=(splits, 1, 1))
    scores += CELL_SD * rng.normal(size=(splits, 1, samples))
    sd = np.sqrt(1 + SPLIT_SD**2 + CELL_SD**2)
  scores += mu * sd * (roles == FORGOTTEN)  # in SDs of the scores, so that mu is the truth
  names = np.repeat(np.arange(splits), draws)
  return scores.reshape(len(names), -1), roles.reshape(len(names), -1), names


@functools.cache
def bounds(studies, design, mu, effects, delta):
  return [
    epsilon_bound(*study(seed, design, mu, effects), delta=delta, seed=seed)
    for seed in range(studies)
  ]


def exceeds(found, mu, delta):
  """Return how often the bound exceeds the truth, and that of mu does; the second has no slack."""
  truth = gdp_epsilon(mu, delta)
  return np.mean([b.low > truth for b in found]), np.mean([b.mu > mu for b in found])


@pytest.mark.parametrize("effects", [False, True])
@pytest.mark.parametrize(("mu", "delta"), [(0.0, 0.0), (1.0, 0.01)])
def test_bounds_of_few_studies_rarely_exceed_the_truth(mu, delta, effects):
  for rate in exceeds(bounds(40, DESIGNS[1], mu, effects, delta), mu, delta):
    assert rate <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("effects", [False, True])
@pytest.mark.parametrize(("mu", "delta"), [(0.0, 0.0), *((mu, 0.01) for mu in MUS)])
def test_bounds_of_200_studies_rarely_exceed_the_truth(mu, delta, effects, design):
  found = bounds(200, design, mu, effects, delta)
  for rate in exceeds(found, mu, delta):
    assert rate <= 0.05
  if mu == 2:
    assert np.median([b.low for b in found]) > 1.8


@pytest.mark.parametrize("studies", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_bounds_of_rates_hold_only_with_effective_counts(studies):
  """With split effects, bounds from plain counts fail five times as often as they say."""
  misses = {"effective": [], "counted": []}
  for b in bounds(studies, DESIGNS[1], 1.0, True, 0.01):
    sd = np.sqrt(1 + SPLIT_SD**2 + CELL_SD**2)
    fpr, fnr = norm.sf(b.threshold / sd), norm.cdf(b.threshold / sd - 1)
    if b.direction in ("positives below", "negatives above"):
      fpr, fnr = 1 - fpr, 1 - fnr
    sizes = (b.effective_others, b.effective_members), (b.others, b.members)
    for counts, failed in zip(sizes, misses.values()):
      highs = [clopper_pearson(r * n, n)[1] for r, n in zip((b.fpr, b.fnr), counts)]
      failed += [highs[0] < fpr, highs[1] < fnr]
  error = np.sqrt(0.025 * 0.975 / (2 * studies))
  assert np.mean(misses["effective"]) <= 0.025 + 2 * error
  assert np.mean(misses["counted"]) > 0.08


def test_independent_pairs_give_what_clopper_pearson_does():
  """One sample per pair: 500 models of each role, a split each. Truth 2.318."""
  found, plain = [], []
  for seed in range(10):
    rng = np.random.default_rng(seed)
    roles = np.repeat(np.array([FORGOTTEN, NEVER], np.int8), 500)[:, None]
    scores = rng.normal(size=roles.shape) + (roles == FORGOTTEN)
    b = epsilon_bound(scores, roles, np.arange(1000), delta=0.01, seed=seed)
    rates = (b.fpr, b.others), (b.fnr, b.members)
    fpr, fnr = (clopper_pearson(rate * n, n)[1] for rate, n in rates)
    rare, missed = {"positives above": (fpr, fnr), "negatives below": (fnr, fpr)}[b.direction]
    found.append(b.low)
    plain.append(np.log(1 - missed - 0.01) - np.log(rare))
    assert min(b.effective_others / b.others, b.effective_members / b.members) > 0.97
  np.testing.assert_allclose(found, plain, atol=0.015)
  # 1.10 if the half that chooses the threshold measured the rates as well.
  assert 0.8 < np.median(found) < 1.05 and max(found) < gdp_epsilon(1, 0.01)
