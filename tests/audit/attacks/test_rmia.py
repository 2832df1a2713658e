"""RMIA: against brute force over all pairs, and the signal against its polynomial."""

import numpy as np
import pytest

from jaxmu.audit.attacks.population_scores import auc
from jaxmu.audit.attacks.rmia import rmia, taylor_softmargin
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)


def brute_force(target, reference, gamma, population):
  """The definition over all pairs; returns counts and the number of samples compared with."""
  ratio = target / reference.mean(0, dtype=float)
  scores = np.empty(ratio.shape)
  for t, x in np.ndindex(ratio.shape):
    others = [z for z in population if z != x]
    scores[t, x] = np.mean([ratio[t, x] / ratio[t, z] > gamma for z in others])
  return scores.astype(np.float32)


@pytest.mark.parametrize("gamma", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("population", [None, np.arange(5, 40)])
def test_sorting_equals_brute_force(gamma, population):
  target, reference = RNG.uniform(0.01, 1, (3, 50)), RNG.uniform(0.01, 1, (8, 50))
  found = rmia(target, reference, gamma=gamma, population=population)
  everyone = range(50) if population is None else population
  np.testing.assert_array_equal(found, brute_force(target, reference, gamma, everyone))


def test_ties_are_not_dominated():
  """Ratios on a grid of powers of two: many pairs differ by exactly gamma."""
  target = 2.0 ** RNG.integers(-4, 1, (2, 60))
  reference = np.full((3, 60), 0.5)
  found = rmia(target, reference, gamma=2.0)
  np.testing.assert_array_equal(found, brute_force(target, reference, 2.0, range(60)))


@pytest.mark.parametrize("splits", [None, np.arange(6) % 3])
def test_without_references_every_model_refers_to_the_others(splits):
  target = RNG.uniform(0.01, 1, (6, 30))
  found = rmia(target, splits=splits)
  groups = np.arange(6) if splits is None else splits
  for k in range(6):
    expected = rmia(target[k : k + 1], target[groups != groups[k]])[0]
    np.testing.assert_array_equal(found[k], expected)


def test_noise_is_at_chance_and_members_are_found():
  member = RNG.random((40, 500)) < 0.5
  hardness = 2 * RNG.normal(size=500)
  for signal, low, high in ((0.0, 0.48, 0.52), (1.5, 0.75, 0.95)):
    p = 1 / (1 + np.exp(-(RNG.normal(size=member.shape) + hardness + signal * member)))
    scores = rmia(p)
    assert low < auc(scores[member], scores[~member]) < high


def test_signal_is_the_polynomial_by_hand():
  logits, label = np.array([[2.0, -1.0, 0.5]]), np.array([0])
  t = lambda a: 1 + a + a**2 / 2 + a**3 / 6
  expected = t(1 - 0.6) / (t(1 - 0.6) + t(-0.5) + t(0.25))
  np.testing.assert_allclose(taylor_softmargin(logits, label), [expected], rtol=1e-14)
  softmax = taylor_softmargin(logits, label, temperature=1, margin=0, order=30)
  np.testing.assert_allclose(softmax, np.exp(2) / np.exp(logits).sum(1), rtol=1e-12)


def test_very_negative_logits_count_nothing_rather_than_less_than_nothing():
  """Wrong for certain, right for certain, and no class with a positive polynomial."""
  logits = np.array([[[-20.0, 3.0], [9.0, -20.0], [-20.0, -20.0]]])
  found = taylor_softmargin(logits, np.array([0, 0, 0]))
  np.testing.assert_array_equal(found, [[1e-6, 1.0, 1e-6]])
  t = lambda a: 1 + a + a**2 / 2 + a**3 / 6
  literal = taylor_softmargin(logits, np.array([0, 0, 0]), compat=True)
  third = t(-10.6) / (t(-10.6) + t(-10))
  np.testing.assert_allclose(literal, [[1.0, 1e-6, third]])


def test_mistakes_are_named():
  good = np.full((2, 4), 0.5)
  with pytest.raises(ValueError, match=r"gamma must be at least 1, got 0\.5"):
    rmia(good, good, gamma=0.5)
  with pytest.raises(DataError, match=r"targets \(2, 4\), references \(2, 3\)"):
    rmia(good, good[:, 1:])
  with pytest.raises(DataError, match="RMIA has no reference model"):
    rmia(good[:1])
  with pytest.raises(DataError, match="RMIA has no reference model"):
    rmia(good, splits=np.zeros(2))
  with pytest.raises(DataError, match="reference model 1 has a signal that is not positive"):
    rmia(good, np.array([[0.5] * 4, [0.5, 0, 0.5, 0.5]]))
  with pytest.raises(DataError, match="target model 0 has a signal that is not positive"):
    rmia(np.full((1, 4), np.nan), good)
  with pytest.raises(ValueError, match=r"logits \(2, 4\) and labels \(3,\)"):
    taylor_softmargin(good, np.zeros(3, int))
