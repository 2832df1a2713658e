"""Losses and confidences against naive formulas, and at the edges of float."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxmu.audit.attacks.scores import cross_entropy, logit_scaled_confidence, usable
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (2, 5, 7, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, 7)


def naive_probability():
  p = np.exp(LOGITS.astype(float))
  p /= p.sum(-1, keepdims=True)
  return p, np.take_along_axis(p, LABELS[None, None, :, None], -1)[..., 0]


def test_cross_entropy_is_minus_log_probability():
  _, true = naive_probability()
  found = cross_entropy(LOGITS, LABELS)
  assert found.dtype == np.float64
  np.testing.assert_allclose(found, -np.log(true), rtol=1e-12)


def test_confidence_is_the_log_odds_of_the_true_class():
  p, true = naive_probability()
  np.testing.assert_allclose(
    logit_scaled_confidence(LOGITS, LABELS), np.log(true) - np.log(p.sum(-1) - true), atol=1e-6
  )


def test_extreme_logits_stay_finite_and_exact():
  logits = np.array([[0.0, 200.0], [1e30, 0.0], [-3e38, 3e38]])
  np.testing.assert_allclose(cross_entropy(logits, np.array([0, 0, 0])), [200.0, 0.0, 6e38])
  logits = np.array([[100.0, 0.0, 0.0], [0.0, 100.0, 0.0], [1e5, 0.0, 0.0]])
  labels = np.zeros(3, int)
  exact = [100 - np.log(2), -100 - np.log1p(np.exp(-100)), 1e5 - np.log(2)]
  np.testing.assert_allclose(logit_scaled_confidence(logits, labels), exact, rtol=1e-14)
  floored = [100 - np.log(2), -100, -np.log(1e-45)]
  found = logit_scaled_confidence(logits, labels, compat=True)
  np.testing.assert_allclose(found, floored, rtol=2e-3)


def test_margins_equal_the_public_formula_where_its_floor_is_out_of_reach():
  logits = np.random.default_rng(1).normal(0, 12, (3, 500, 10))
  labels = np.random.default_rng(2).integers(0, 10, 500)
  exact = logit_scaled_confidence(logits, labels)
  near = np.abs(exact) < 80
  assert near.mean() > 0.99
  compat = logit_scaled_confidence(logits, labels, compat=True)
  np.testing.assert_allclose(exact[near], compat[near], rtol=1e-12, atol=1e-12)


def test_over_forgotten_margins_stay_apart():
  """Audit D5: N(-300, 40) against N(-220, 40) is .841 for the ideal attacker, not one half."""
  rng = np.random.default_rng(0)
  margins = np.concatenate([rng.normal(-300, 40, 2000), rng.normal(-220, 40, 2000)])
  logits = np.stack([margins, np.zeros(4000)], 1)
  labels = np.zeros(4000, int)
  np.testing.assert_allclose(logit_scaled_confidence(logits, labels), margins, rtol=1e-12)
  right = lambda phi: ((phi[:2000] < -260).mean() + (phi[2000:] >= -260).mean()) / 2
  assert right(logit_scaled_confidence(logits, labels)) == pytest.approx(norm.cdf(1), abs=0.01)
  assert right(logit_scaled_confidence(logits, labels, compat=True)) == 0.5


@pytest.mark.filterwarnings("error")
def test_a_class_that_a_model_excludes_is_no_failure():
  logits, label = np.array([[2.0, 1.0, -np.inf], [2.0, 1.0, -1e300]]), np.zeros(2, int)
  np.testing.assert_allclose(cross_entropy(logits, label), np.log1p(np.exp(-1.0)))
  np.testing.assert_allclose(logit_scaled_confidence(logits, label), 1.0)
  assert usable(logits).all()
  assert not usable(np.array([[np.inf, 0], [np.nan, 0], [-np.inf, -np.inf]])).any()


@pytest.mark.filterwarnings("error")
def test_non_finite_logits_give_non_finite_losses_quietly():
  logits = np.array([[np.nan, 0.0], [np.inf, 0.0], [1.0, 1.0]])
  np.testing.assert_array_equal(np.isfinite(cross_entropy(logits, np.zeros(3, int))), [0, 0, 1])


def test_labels_must_fit():
  with pytest.raises(DataError, match=r"logits \(2, 5, 7, 4\) and labels \(6,\)"):
    cross_entropy(LOGITS, LABELS[:6])
  for score in (cross_entropy, logit_scaled_confidence):
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.3 .* got -1\.\.3"):
      score(LOGITS, np.array([0, 1, 2, 3, 0, 1, -1]))
    with pytest.raises(DataError, match=r"got 0\.\.4"):
      score(LOGITS, np.array([0, 1, 2, 3, 0, 1, 4]))
    with pytest.raises(DataError, match="whole numbers, got float64"):
      score(LOGITS, LABELS.astype(float))
  with pytest.raises(DataError, match=r"at least 2 classes, got shape \(3, 1\)"):
    logit_scaled_confidence(np.zeros((3, 1)), np.zeros(3, int))
