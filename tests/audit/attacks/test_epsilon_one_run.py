"""Bounds on epsilon from one run: against the public auditor, definitions, and simulated truth."""

import numpy as np
import pytest
from scipy import optimize, stats

from jaxmu.audit.attacks.epsilon import gdp_epsilon
from jaxmu.audit.attacks.epsilon_one_run import (
  epsilon_one_run,
  epsilon_one_run_scores,
  gdp_one_run,
)
from jaxmu.errors import DataError

pytestmark = pytest.mark.filterwarnings("error")

# jax-privacy 2.0.0 with dp_accounting 0.6.0: _epsilon_one_run(0, m, guesses, correct, 1 - level,
# delta). m, guesses, correct, level, delta, epsilon.
PUBLIC = [
  (1000, 1000, 1000, 0.95, 0, 5.80906834),
  (100, 100, 100, 0.95, 0, 3.49296535),
  (1000, 1000, 550, 0.95, 0, 0.09422382),
  (1000, 100, 90, 0.95, 1e-5, 1.62614368),
  (1000, 1000, 700, 0.95, 1e-5, 0.73174064),
  (1000, 1000, 700, 0.95, 1e-3, 0.69611048),
  (5000, 400, 380, 0.99, 1e-6, 2.41993917),
  (200, 50, 50, 0.9, 0.01, 0.0),
  (1000, 1000, 510, 0.95, 0, 0.0),
  (64, 64, 0, 0.95, 0, 0.0),
]
# Likewise _epsilon_one_run_fdp.
PUBLIC_GDP = [
  (1000, 100, 90, 0.95, 1e-5, 2.45640507),
  (1000, 1000, 700, 0.95, 1e-5, 1.37198005),
  (1000, 1000, 1000, 0.95, 1e-5, 12.33457016),
  (100, 100, 100, 0.95, 0.001, 6.14863204),
  (5000, 400, 380, 0.99, 1e-6, 3.51839275),
  (200, 50, 50, 0.9, 0.01, 3.28125403),
  (1000, 1000, 550, 0.95, 1e-5, 0.18556990),
  (1000, 1000, 500, 0.95, 1e-5, 0.0),
]


@pytest.mark.parametrize(("bound", "cases"), [(epsilon_one_run, PUBLIC), (gdp_one_run, PUBLIC_GDP)])
def test_equals_the_public_auditor(bound, cases):
  found = [bound(m, g, c, level=level, delta=delta) for m, g, c, level, delta, _ in cases]
  np.testing.assert_allclose(found, [case[-1] for case in cases], atol=1e-6)


def test_equals_the_public_auditor_itself():
  auditing = pytest.importorskip("jax_privacy.auditing")
  rng = np.random.default_rng(0)
  for _ in range(25):
    m = int(rng.integers(50, 1500))
    guesses = int(rng.integers(10, m + 1))
    correct = int(rng.integers(guesses // 2, guesses + 1))
    level, delta = rng.uniform(0.7, 0.99), 10 ** rng.uniform(-7, -3)
    for own, public in (
      (epsilon_one_run, auditing._epsilon_one_run),
      (gdp_one_run, auditing._epsilon_one_run_fdp),
    ):
      expected = public(0, m, guesses, correct, 1 - level, delta)
      found = own(m, guesses, correct, level=level, delta=delta)
      # Its root is only accurate to 1e-6 itself.
      assert found == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
  ("guesses", "correct", "delta"), [(60, 52, 0.0), (60, 52, 1e-3), (7, 7, 0)]
)
def test_the_p_value_at_the_bound_is_one_minus_the_level(guesses, correct, delta):
  """The definition, summed outcome by outcome."""

  def p_value(e):
    mass = stats.binom.pmf(np.arange(guesses + 1), guesses, 1 / (1 + np.exp(-e)))
    slope = max(mass[correct - i : correct].sum() / i for i in range(1, correct + 1))
    return mass[correct:].sum() + 2 * 80 * delta * slope

  expected = optimize.brentq(lambda e: p_value(e) - 0.1, 0, 20, xtol=1e-10)
  assert epsilon_one_run(80, guesses, correct, level=0.9, delta=delta) == pytest.approx(
    expected, abs=1e-8
  )


def test_right_guesses_raise_bounds_and_abstaining_costs_delta():
  for bound in (epsilon_one_run, gdp_one_run):
    grows = [bound(400, 100, c, delta=1e-4) for c in range(40, 101, 5)]
    assert grows[0] == 0 and grows[-1] > 2 and (np.diff(grows) >= 0).all()
    assert bound(100, 100, 90, delta=1e-3) > bound(100, 100, 90, delta=1e-3, level=0.99) > 0
  assert epsilon_one_run(10**4, 100, 90, delta=1e-4) < epsilon_one_run(100, 100, 90, delta=1e-4)
  assert epsilon_one_run(5, 0, 0) == gdp_one_run(5, 0, 0, delta=0.1) == 0


def one_run(rng, m, mu):
  included = rng.random(m) < 0.5
  scores = rng.normal(size=m) + mu * included
  return scores[included], scores[~included]


def test_scores_are_guessed_from_both_ends():
  members, others = np.array([9.0, 8, 3, 2.5]), np.array([7.0, 2, 1, 0, -1])
  # Guessed members, from the top: 9, 8, (7), 3, 2.5. Guessed others, from the bottom: -1, 0, 1, 2.
  for guesses, correct in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (7, 6), (9, 8)):
    found = epsilon_one_run_scores(members, others, guesses=guesses, level=0.6)
    assert found == pytest.approx(epsilon_one_run(9, guesses, correct, level=0.6), abs=1e-8)


def test_several_numbers_of_guesses_are_paid_for():
  members, others = one_run(np.random.default_rng(0), 600, 2)
  alone = [epsilon_one_run_scores(members, others, guesses=g, level=0.98) for g in (50, 200)]
  both = epsilon_one_run_scores(members, others, guesses=[50, 200], level=0.96)
  assert both == pytest.approx(max(alone), abs=1e-6)
  tried = [600, 300, 150, 75, 37, 18]
  expected = epsilon_one_run_scores(members, others, guesses=tried)
  assert epsilon_one_run_scores(members, others) == expected > 1


def test_equal_scores_are_guessed_like_coins():
  one = lambda seed, level: epsilon_one_run_scores(
    np.ones(100), np.ones(100), guesses=100, seed=seed, level=level
  )
  positive = {level: np.mean([one(s, level) > 0 for s in range(60)]) for level in (0.5, 0.95)}
  assert 0.2 < positive[0.5] < 0.7 and positive[0.95] < 0.15


@pytest.mark.parametrize("guesses", [100, None])
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_bounds_exceed_the_truth_as_rarely_as_they_say(mu, guesses):
  """Guesses of noise may exceed 0 in one of 20 runs; the rest has slack."""
  rng = np.random.default_rng(1)
  runs = [one_run(rng, 500, mu) for _ in range(200)]
  delta = 0.01 if mu else 0.0
  truth = gdp_epsilon(mu, delta)
  bounds = [
    epsilon_one_run_scores(*run, guesses=guesses, delta=delta, seed=k) for k, run in enumerate(runs)
  ]
  assert np.mean(np.array(bounds) > truth) <= 0.08  # 0.05 and two standard errors


def test_bounds_of_gaussian_dp_exceed_the_truth_rarely_and_are_sharper():
  rng, counts = np.random.default_rng(2), []
  for _ in range(100):
    members, others = one_run(rng, 1000, 1.0)
    scores = np.concatenate([members, others])
    ends = np.argsort(scores)[np.r_[:50, -50:0]]
    counts.append(int((ends[50:] < len(members)).sum() + (ends[:50] >= len(members)).sum()))
  # Bounds grow with the right guesses, so the largest and the median ones are known without others.
  assert gdp_one_run(1000, 100, max(counts), delta=1e-3) < gdp_epsilon(1.0, 1e-3)
  middle = int(np.median(counts))
  assert gdp_one_run(1000, 100, middle, delta=1e-3) > 1
  assert epsilon_one_run(1000, 100, middle, delta=1e-3) < 0.5


def test_mistakes_are_named():
  for bound in (epsilon_one_run, gdp_one_run):
    for m, guesses, correct in ((10, 11, 5), (10, 5, 6), (10, 5, -1), (0, 0, 0)):
      with pytest.raises(ValueError, match=f"got correct={correct}, guesses={guesses}, m={m}"):
        bound(m, guesses, correct, delta=0.1)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 0"):
      bound(10, 5, 5, level=0, delta=0.1)
  with pytest.raises(ValueError, match="delta must be above 0: Gaussian DP has no finite epsilon"):
    gdp_one_run(10, 5, 5, delta=0)
  with pytest.raises(ValueError, match=r"guesses must be numbers from 1 to 5 .*, got \[2, 6\]"):
    epsilon_one_run_scores([1, 2, 3], [1, 2], guesses=[2, 6])
  with pytest.raises(ValueError, match=r"guesses must be numbers from 1 to 5 .*, got 0"):
    epsilon_one_run_scores([1, 2, 3], [1, 2], guesses=0)
  with pytest.raises(DataError, match=r"members \(1, 2\) and others \(2,\) must be one-dimens"):
    epsilon_one_run_scores([[1, 2]], [1, 2])
  with pytest.raises(DataError, match="1 of 4 scores are NaN; expected a score of every sample"):
    epsilon_one_run_scores([1, np.nan], [1, 2])
