"""Kernel densities per sample: against scikit-learn and SciPy, one model after another."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import gaussian_kde
from sklearn.neighbors import KernelDensity

from jaxmu.audit.attacks import fits
from jaxmu.audit.attacks.exposure import sample_accuracy, tally
from jaxmu.audit.attacks.kernel import kernel_ratios
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.errors import DataError


def problem(seed=0, models=24, samples=15, per_split=3):
  """Scores of models in mixed order, all roles in all splits, some too rare for a density."""
  rng = np.random.default_rng(seed)
  splits = rng.permutation(np.arange(models) // per_split)
  roles = rng.choice([-1, NEVER, RETAINED, FORGOTTEN], (models, samples), p=[0.1, 0.4, 0.2, 0.3])
  roles[:, :2] = NEVER
  roles[5, 1] = FORGOTTEN
  phi = (3 * rng.normal(size=(models, samples)) + (roles == FORGOTTEN)).astype(np.float32)
  return phi, roles.astype(np.int8), splits


def log_density(value, others, bandwidth):
  """The public code's estimator for a number, SciPy's for a rule."""
  others = others.astype(float)
  if isinstance(bandwidth, str):
    return np.nan if len(others) < 2 else gaussian_kde(others, bandwidth).logpdf(value)[0]
  if not len(others):
    return np.nan
  return KernelDensity(bandwidth=bandwidth).fit(others[:, None]).score_samples([[value]])[0]


@pytest.mark.parametrize("bandwidth", [1.0, 0.3, "scott", "silverman"])
@pytest.mark.parametrize("leave_out", fits.LEAVE_OUT)
def test_ratios_are_those_of_public_estimators(leave_out, bandwidth, monkeypatch):
  phi, roles, splits = problem()
  monkeypatch.setattr(fits, "_BLOCK", 4 * len(phi))
  found = kernel_ratios(phi, roles, splits, bandwidth=bandwidth, leave_out=leave_out)
  assert found.dtype == np.float32
  for k, x in np.ndindex(phi.shape):
    if roles[k, x] not in (FORGOTTEN, NEVER):
      assert np.isnan(found[k, x])
      continue
    out = {"split": splits == splits[k], "model": np.arange(len(phi)) == k, "nothing": False}
    stays = ~np.asarray(out[leave_out])
    sides = [phi[(roles[:, x] == side) & stays, x] for side in (FORGOTTEN, NEVER)]
    logs = [log_density(float(phi[k, x]), side, bandwidth) for side in sides]
    np.testing.assert_allclose(found[k, x], logs[0] - logs[1], rtol=1e-4, atol=1e-4)
  asked = (roles == FORGOTTEN) | (roles == NEVER)
  assert 0 < np.isnan(found[asked]).mean() < 0.3


def test_pairs_lose_a_split_on_both_sides():
  """Two models a split, one role each: the i-th of a side is paired with the i-th of the other."""
  rng = np.random.default_rng(1)
  splits, sign = np.repeat(np.arange(8), 2), np.tile([0, 0, 1, 1], 4)
  roles = np.where(sign, FORGOTTEN, NEVER).astype(np.int8)[:, None]
  phi = rng.normal(size=(16, 1))
  found = kernel_ratios(phi, roles, splits, paired=True)
  for side, other in ((FORGOTTEN, NEVER), (NEVER, FORGOTTEN)):
    models, partners = (np.flatnonzero(roles[:, 0] == role) for role in (side, other))
    for k, partner in zip(models, partners):
      logs = {}
      for role, lost in ((side, k), (other, partner)):
        rest = (roles[:, 0] == role) & (splits != splits[lost])
        logs[role] = log_density(phi[k, 0], phi[rest, 0], 1.0)
      expected = logs[FORGOTTEN] - logs[NEVER]
      np.testing.assert_allclose(found[k, 0], expected, rtol=1e-5, atol=1e-5)


def mean_accuracy(scores, roles, splits, negative=NEVER):
  return np.nanmean(sample_accuracy(tally(scores, roles, splits, negative=negative)))


def test_two_humps_are_seen_by_kernels_and_not_by_gaussians():
  """Equal means and SDs: forgotten scores lie at +-2, never ones are Gaussian."""
  rng = np.random.default_rng(2)
  roles = np.repeat([FORGOTTEN, NEVER], 60)[:, None].repeat(200, 1)
  humps = 1.95 * rng.choice([-1, 1], roles.shape) + 0.45 * rng.normal(size=roles.shape)
  phi = np.where(roles == FORGOTTEN, humps, 2 * rng.normal(size=roles.shape))
  splits = np.arange(120)
  sharp = kernel_ratios(phi, roles, splits, bandwidth=0.4)
  assert mean_accuracy(sharp, roles, splits) > 0.66
  assert mean_accuracy(ulira(phi, roles, splits), roles, splits) < 0.56


def test_a_shift_of_one_sd_is_found_about_as_well_as_by_gaussians():
  rng = np.random.default_rng(3)
  roles = np.repeat([FORGOTTEN, NEVER], [32, 320])[:, None].repeat(200, 1)
  phi = rng.normal(size=roles.shape) + (roles == FORGOTTEN)
  for bandwidth in (1.0, "scott", "silverman"):
    scores = kernel_ratios(phi, roles, np.arange(352), bandwidth=bandwidth)
    assert mean_accuracy(scores, roles, np.arange(352)) == pytest.approx(0.687, abs=0.008)


def study(rng, splits, forgets, samples):
  """Scores of a study without any signal: random halves, forgotten tenths, split effects."""
  roles = np.zeros((splits, forgets, samples), np.int8)
  for of_split in roles:
    half = rng.permutation(samples)[: samples // 2]
    of_split[:, half] = RETAINED
    for model in of_split:
      model[rng.permutation(half)[: len(half) // 10]] = FORGOTTEN
  phi = 2 * rng.normal(size=samples) + 0.5 * rng.normal(size=(splits, 1, samples))
  phi = phi + rng.normal(size=roles.shape)
  flat = (splits * forgets, samples)
  return phi.reshape(flat), roles.reshape(flat), np.repeat(np.arange(splits), forgets)


@pytest.mark.parametrize("bandwidth", [1.0, "scott"])
@pytest.mark.parametrize("negative", [NEVER, RETAINED])
def test_pairs_find_nothing_where_roles_are_exchangeable(negative, bandwidth):
  rng, found = np.random.default_rng(4), []
  for _ in range(30):
    phi, roles, splits = study(rng, 16, 4, 300)
    scores = kernel_ratios(phi, roles, splits, paired=True, negative=negative, bandwidth=bandwidth)
    found.append(mean_accuracy(scores, roles, splits, negative))
  assert np.mean(found) == pytest.approx(0.5, abs=0.005)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bandwidth", [1e-3, 1.0, "scott"])
def test_far_scores_give_finite_ratios_quietly(bandwidth):
  """Where every kernel's density is 0 in floating point, its logarithm still is not."""
  phi, roles, splits = problem(5, samples=6)
  phi = phi.astype(float)
  phi[:, 3], phi[:, 4] = 1e4 * phi[:, 3], 1e300 * phi[:, 4]
  phi[:, 5] = 7.0
  for paired in (False, True):
    found = kernel_ratios(phi, roles, splits, bandwidth=bandwidth, paired=paired)
    asked = (roles == FORGOTTEN) | (roles == NEVER)
    assert np.isfinite(found[:, 2:][asked[:, 2:]]).all()


def test_memory_does_not_grow_with_samples(monkeypatch):
  """Densities of a model among all others need [M, M, N] numbers: never more than some blocks."""
  monkeypatch.setattr(fits, "_BLOCK", 1 << 14)
  for samples in (300, 3000):  # 273 are a block
    phi, roles, splits = problem(6, 60, samples)
    tracemalloc.start()
    kernel_ratios(phi, roles, splits, paired=True)
    peak = tracemalloc.get_traced_memory()[1] - phi.nbytes  # the result is as large
    tracemalloc.stop()
    assert peak < 20 * 8 * fits._BLOCK


def test_excluded_models_may_hold_anything():
  phi, roles, splits = problem(7)
  roles[5] = -1
  expected = kernel_ratios(phi, roles, splits)
  phi[5] = np.nan
  np.testing.assert_array_equal(kernel_ratios(phi, roles, splits), expected)


def test_arguments_that_do_not_fit_are_refused():
  phi, roles, splits = problem()
  for bandwidth in (0, -1.0, np.inf, np.nan, "normal"):
    with pytest.raises(ValueError, match=r"bandwidth must be a number of at least 0\.001 or one"):
      kernel_ratios(phi, roles, splits, bandwidth=bandwidth)
  with pytest.raises(DataError, match=r"phi is \(1, 24, 15\); expected \[M, N\], one query"):
    kernel_ratios(phi[None], roles, splits)
  with pytest.raises(DataError, match=r"scores \(24, 15\), roles \(24, 14\)"):
    kernel_ratios(phi, roles[:, 1:], splits)
  with pytest.raises(DataError, match="are empty"):
    kernel_ratios(phi[:0], roles[:0], splits[:0])
  phi[5, 9], roles[5, 9] = np.nan, NEVER
  with pytest.raises(DataError, match="model 5 has scores that are not finite"):
    kernel_ratios(phi, roles, splits)
