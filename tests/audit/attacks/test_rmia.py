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


def by_the_formula(target, reference, member, a, gamma):
  """The offline form over all pairs; a sample without a model that did not train on it is NaN."""
  out = np.where(member, np.nan, reference)
  ratio = np.full(target.shape, np.nan)
  for x in range(target.shape[1]):
    if not member[:, x].all():
      ratio[:, x] = target[:, x] / (((1 + a) * np.nanmean(out[:, x]) + (1 - a)) / 2)
  scores = np.full(target.shape, np.nan)
  known = [x for x in range(target.shape[1]) if not member[:, x].all()]
  for t, x in np.ndindex(target.shape):
    if x in known:
      scores[t, x] = np.mean([ratio[t, x] / ratio[t, z] > gamma for z in known if z != x])
  return scores.astype(np.float32)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_offline_only_models_that_did_not_train_on_a_sample_count(a, gamma):
  target, reference = RNG.uniform(0.01, 1, (3, 40)), RNG.uniform(0.01, 1, (8, 40))
  member = RNG.random(reference.shape) < 0.5
  member[:, 4] = True
  found = rmia(target, reference, gamma=gamma, offline_a=a, member=member)
  np.testing.assert_array_equal(found, by_the_formula(target, reference, member, a, gamma))
  assert np.isnan(found[:, 4]).all()


def test_offline_with_all_models_outside_and_a_of_one_is_online():
  target, reference = RNG.uniform(0.01, 1, (3, 40)), RNG.uniform(0.01, 1, (8, 40))
  online = rmia(target, reference)
  np.testing.assert_array_equal(rmia(target, reference, offline_a=1.0), online)
  nobody = np.zeros(reference.shape, bool)
  np.testing.assert_array_equal(rmia(target, reference, offline_a=1.0, member=nobody), online)
  assert (rmia(target, reference, offline_a=0.3) != online).any()


@pytest.mark.parametrize("splits", [None, np.arange(6) % 3])
def test_offline_without_references_every_model_refers_to_the_others(splits):
  target = RNG.uniform(0.01, 1, (6, 30))
  member = RNG.random(target.shape) < 0.3
  member[:, 3] = np.arange(6) != 1  # one model alone is outside
  found = rmia(target, splits=splits, offline_a=0.3, member=member)
  groups = np.arange(6) if splits is None else splits
  for k in range(6):
    others = groups != groups[k]
    expected = by_the_formula(target[k : k + 1], target[others], member[others], 0.3, 1.0)[0]
    np.testing.assert_array_equal(found[k], expected)
  assert np.isnan(found[1, 3])


def test_members_are_found_offline():
  """Half of the models trained on a sample: only the others tell what to expect of it."""
  member = RNG.random((40, 500)) < 0.5
  hardness = RNG.normal(size=500)
  p = 1 / (1 + np.exp(-(RNG.normal(size=member.shape) + hardness + 2 * member)))
  for a in (0.3, 0.6, 1.0):
    scores = rmia(p, offline_a=a, member=member)
    assert 0.75 < auc(scores[member], scores[~member]) < 0.95


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", [1, 3, 4, 30])
@pytest.mark.parametrize("compat", [False, True])
def test_classes_without_probability_and_huge_logits(compat, order):
  logits = np.array(
    [[2.0, -np.inf, 0.5], [1e300, 0, -1e300], [-1e300, 1e300, 0.0], [-np.inf, 0, 1]]
  )
  found = taylor_softmargin(logits, np.zeros(4, int), compat=compat, order=order)
  assert np.isfinite(found).all()
  two = taylor_softmargin(logits[:1, [0, 2]], np.array([0]), compat=compat, order=order)
  assert found[0] == two[0]
  assert found[3] == 1e-6
  if order > 1 and not compat:
    assert found[1] == pytest.approx(1.0 if order % 2 == 0 else 0.5)


@pytest.mark.filterwarnings("error")
def test_logits_that_are_not_finite_give_nan_quietly():
  logits = np.array([[np.inf, 0.0], [np.nan, 0.0], [1.0, np.inf], [1.0, 0.0]])
  found = taylor_softmargin(logits, np.zeros(4, int))
  np.testing.assert_array_equal(np.isnan(found), [True, True, True, False])


@pytest.mark.filterwarnings("error")
def test_signals_of_any_size_are_quiet():
  signals = np.array([[1e308, 1e-300, 0.5, 1e-6], [1e308, 1e308, 0.5, 1.0], [1e-308, 1, 0.5, 0.1]])
  for scores in (rmia(signals), rmia(signals, signals), rmia(signals, offline_a=0.3)):
    known = scores[np.isfinite(scores)]
    assert len(known) > 6
    assert ((known >= 0) & (known <= 1)).all()


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
  for label in (-1, 4):
    with pytest.raises(DataError, match=rf"label {label} of sample 1 is no class; expected 0 to 3"):
      taylor_softmargin(good, np.array([0, label]))
  for a in (-0.1, 1.5, np.nan):
    with pytest.raises(ValueError, match=r"offline_a must lie in \[0, 1\], got"):
      rmia(good, good, offline_a=a)
  with pytest.raises(ValueError, match="member is for the offline form only; give offline_a"):
    rmia(good, good, member=good > 0)
  with pytest.raises(DataError, match=r"member \(2, 3\) must tell for each .* \(2, 4\)"):
    rmia(good, good, offline_a=0.3, member=good[:, 1:] > 0)
  for empty in (good[:0], good[:, :0]):
    with pytest.raises(DataError, match="are empty; expected at least one model and one sample"):
      rmia(empty, good[:, : empty.shape[1]])
  with pytest.raises(DataError, match="RMIA has no reference model"):
    rmia(good, good[:0])
