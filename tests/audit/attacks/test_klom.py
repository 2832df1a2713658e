"""KLOM against NumPy's own histograms, sample by sample."""

import numpy as np
import pytest

from jaxmu.audit.attacks import lira as gaussians
from jaxmu.audit.attacks.klom import klom, klom_percentiles
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)


def one_sample(u, r, bins=20):
  u, r = np.clip(u, -100, 100), np.clip(r, -100, 100)
  low, high = min(u.min(), r.min()), max(u.max(), r.max())
  p, q = (np.histogram(side, bins, (low, high))[0] / len(side) for side in (u, r))
  return sum(a * np.log(a / max(b, 1e-5)) for a, b in zip(p, q) if a > 0)


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
