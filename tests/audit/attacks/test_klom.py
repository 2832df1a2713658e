"""KLOM against NumPy's own histograms, sample by sample."""

import numpy as np
import pytest
from scipy import stats

from jaxmu.audit.attacks import fits as gaussians
from jaxmu.audit.attacks.klom import FLOOR_MODELS, klom, klom_percentiles
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)


def one_sample(u, r, bins=20):
  u, r = np.clip(u, -100, 100), np.clip(r, -100, 100)
  low, high = min(u.min(), r.min()), max(u.max(), r.max())
  p, q = (np.histogram(side, bins, (low, high))[0] / len(side) for side in (u, r))
  return sum(a * np.log(a / max(b, 1e-5)) for a, b in zip(p, q) if a > 0)


def public_sample(u, r, bins=20):
  """The public code's steps: bins that do not hold their upper edge, then scipy's entropy."""
  u, r = np.clip(u, -100, 100), np.clip(r, -100, 100)
  low, high = min(u.min(), r.min()), max(u.max(), r.max())
  edges = np.linspace(low, high if high > low else low + 1, bins + 1)
  shares = []
  for side in (u, r):
    counts = np.bincount(np.digitize(side, edges), minlength=bins + 2)[1 : bins + 1]
    shares.append(counts / max(counts.sum(), 1))
  floored = np.where(shares[0] > 0, np.maximum(shares[1], 1e-5), shares[1])
  return stats.entropy(shares[0], floored)


@pytest.mark.parametrize("bins", [20, 7])
def test_compat_equals_the_public_code(bins, monkeypatch):
  monkeypatch.setattr(gaussians, "_BLOCK", 400)
  u, r = np.round(RNG.normal(1, 2, (30, 60)), 1), 80 * RNG.normal(0, 1, (50, 60))
  r[:, 20:] /= 80
  u[:, 40], r[:, 40] = 3.0, 3.0
  r[:, 41] = 9.0  # all retrained scores are the largest: no histogram of them is left
  found = klom(u, r, bins, compat=True)
  expected = [public_sample(*x, bins) for x in zip(u.T, r.T)]
  np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
  assert (np.abs(found - klom(u, r, bins)) > 1e-3).mean() > 0.5


@pytest.mark.filterwarnings("error")
def test_compat_has_no_value_where_all_unlearned_scores_are_the_largest():
  u, r = np.full((5, 2), 3.0), RNG.normal(size=(9, 2))
  r[:, 1] = 3.0
  np.testing.assert_array_equal(klom(u, r, compat=True), [np.nan, 0])
  np.testing.assert_allclose(klom(u, r), [np.log(1e5), 0])


def test_the_upper_edge_matters_in_the_mean():
  u, r = RNG.normal(size=(2, 100, 4000))
  assert klom(u, r).mean() == pytest.approx(0.352, abs=0.008)
  assert klom(u, r, compat=True).mean() == pytest.approx(0.338, abs=0.008)


@pytest.mark.parametrize(
  ("models", "noise"), [(8, 8.84), (32, 2.97), (64, 1.18), (100, 0.68), (256, 0.21)]
)
def test_noise_of_few_models(models, noise):
  """The 95th percentile between samples of one distribution."""
  u, r = np.random.default_rng(models).normal(size=(2, models, 3000))
  assert np.percentile(klom(u, r), 95) == pytest.approx(noise, rel=0.1)
  assert (models < FLOOR_MODELS) == (noise > 1.2)


@pytest.mark.parametrize("bins", [20, 7])
def test_all_samples_at_once_equal_one_after_another(bins, monkeypatch):
  monkeypatch.setattr(gaussians, "_BLOCK", 400)
  u, r = RNG.normal(1, 2, (30, 40)), 80 * RNG.normal(0, 1, (50, 40))
  r[:, 20:] /= 80
  found = klom(u, r, bins)
  np.testing.assert_allclose(found, [one_sample(*x, bins) for x in zip(u.T, r.T)], rtol=1e-12)


def test_values_on_the_edges_count_once():
  u = np.arange(21.0)[:, None]
  r = np.repeat(np.arange(20.0) + 0.5, np.arange(1, 21))[:, None]
  np.testing.assert_allclose(klom(u, r), [one_sample(u[:, 0], r[:, 0])], rtol=1e-12)


def test_same_scores_give_zero_and_disjoint_ones_the_maximum():
  u = RNG.normal(size=(25, 6))
  np.testing.assert_array_equal(klom(u, u), 0)
  # All unlearned scores share one bin that no retrained score is in.
  np.testing.assert_allclose(klom(np.full((5, 3), 300.0), u[:, :3]), np.log(1e5))
  np.testing.assert_array_equal(klom(np.full((5, 3), 300.0), np.full((9, 3), 200.0)), 0)


def test_direction_is_from_unlearned_to_retrained():
  u = np.concatenate([np.zeros((10, 1)), np.ones((10, 1))])
  r = np.concatenate([np.zeros((18, 1)), np.ones((2, 1))])
  expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
  np.testing.assert_allclose(klom(u, r), [expected])


def test_percentiles_by_set():
  values = np.arange(101.0)
  sets = {"forget": np.arange(101), "retain": np.array([3, 3, 3])}
  assert klom_percentiles(values, sets) == {"forget": 95.0, "retain": 3.0}
  assert klom_percentiles(values, sets, 50)["forget"] == 50


def test_mistakes_are_named():
  with pytest.raises(DataError, match=r"unlearned \(3, 4\) and retrained \(3, 5\) scores"):
    klom(np.zeros((3, 4)), np.zeros((3, 5)))
  with pytest.raises(DataError, match="model 1 has scores that are not finite"):
    klom(np.zeros((2, 4)), np.array([[0.0] * 4, [0, 0, np.nan, 0]]))
  for u, r in (((0, 4), (3, 4)), ((3, 4), (0, 4)), ((3, 0), (3, 0))):
    with pytest.raises(DataError, match="are empty; expected at least one model a side and one"):
      klom(np.zeros(u), np.zeros(r))
  with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
    klom(np.zeros((3, 4)), np.zeros((3, 4)), 0)
  with pytest.raises(DataError, match="set 'forget' holds no samples; leave it out"):
    klom_percentiles(np.zeros(3), {"retain": np.arange(3), "forget": np.array([], int)})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compat", [False, True])
def test_scores_of_any_size_are_clipped_quietly(compat):
  u, r = RNG.normal(size=(2, 9, 5))
  u[:4] *= 1e300
  found = klom(u, r, compat=compat)
  np.testing.assert_array_equal(found, klom(np.clip(u, -100, 100), r, compat=compat))
  assert np.isfinite(found).all()
