"""Losses and confidences against naive formulas, and at the edges of float."""

import numpy as np
import pytest

from jaxmu.audit.attacks.scores import cross_entropy, logit_scaled_confidence

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
  # log p_y - log(1 - p_y) by hand; the last is capped by the added 1e-45.
  expected = [100 - np.log(2), -100, -np.log(1e-45)]
  np.testing.assert_allclose(
    logit_scaled_confidence(logits, np.array([0, 0, 0])), expected, rtol=2e-3
  )


@pytest.mark.filterwarnings("error")
def test_non_finite_logits_give_non_finite_losses_quietly():
  logits = np.array([[np.nan, 0.0], [np.inf, 0.0], [1.0, 1.0]])
  np.testing.assert_array_equal(np.isfinite(cross_entropy(logits, np.zeros(3, int))), [0, 0, 1])


def test_labels_must_fit():
  with pytest.raises(ValueError, match=r"logits \(2, 5, 7, 4\) and labels \(6,\)"):
    cross_entropy(LOGITS, LABELS[:6])
