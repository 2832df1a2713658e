"""Strata: planted samples are found by the other half, and strata add up to the whole."""

import numpy as np
import pytest
from scipy import stats

from jaxmu.audit.attacks.exposure import sample_accuracy, tally
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED, role_matrix, trained_roles
from jaxmu.audit.attacks.strata import (
  PROTECTED,
  VULNERABLE,
  half_of,
  restrict,
  separation,
  strata,
  within_halves,
)
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.data.shadow_splits import shadow_study
from jaxmu.errors import DataError

PLANTED = np.arange(30)


@pytest.fixture(scope="module")
def study():
  """Roles and splits of 16 splits x 4 forget sets over 300 samples."""
  drawn = shadow_study(320, splits=16, attempts=4, pool=300)
  parts = [drawn.split(*model) for model in drawn.models.tolist()]
  roles = role_matrix([p.retain for p in parts], [p.forget for p in parts], drawn.pool)
  return roles, drawn.models[:, 0]


def scores(roles, shift, seed=0):
  """Models that know the planted samples better where they trained on them."""
  phi = np.random.default_rng(seed).normal(size=roles.shape)
  phi[:, PLANTED] += shift * (roles[:, PLANTED] != NEVER)
  return phi


def test_separation_is_that_of_a_welch_test(study):
  roles, _ = study
  phi = scores(roles, 1.0)
  found = separation(phi, roles, positive=FORGOTTEN)
  for i in range(0, 300, 37):
    one, other = phi[roles[:, i] == FORGOTTEN, i], phi[roles[:, i] == NEVER, i]
    if len(one) > 1:
      expected = abs(stats.ttest_ind(one, other, equal_var=False).statistic)
      assert found[i] == pytest.approx(expected)
    else:
      assert np.isnan(found[i])


def test_planted_samples_are_in_the_top_stratum(study):
  roles, splits = study
  found = strata(scores(roles, 2.0), trained_roles(roles), splits)
  assert found.shape == (2, 300)
  for row in found:
    known = (row >= 0).sum()
    assert known > 295
    sizes = [int((row == s).sum()) for s in (0, 1, 2)]
    np.testing.assert_allclose(sizes, [0.5 * known, 0.4 * known, 0.1 * known], atol=1)
    assert (row[PLANTED] == VULNERABLE).mean() > 0.95


def test_strata_add_up_to_the_whole(study):
  roles, splits = study
  phi = scores(roles, 2.0)
  ratios = within_halves(ulira, phi, roles, splits, variance="fixed", paired=True)
  known = strata(phi, trained_roles(roles), splits)
  whole = tally(ratios, roles, splits)
  parts = [tally(restrict(ratios, splits, known, s), roles, splits) for s in (-1, 0, 1, 2)]
  for name in whole._fields:
    total = sum(getattr(part, name) for part in parts)
    np.testing.assert_array_equal(total, getattr(whole, name))


def test_the_vulnerable_are_recognised_and_the_protected_are_not(study):
  roles, splits = study
  phi = scores(roles, 2.0)
  ratios = within_halves(ulira, phi, roles, splits, variance="fixed", paired=True)
  known = strata(phi, trained_roles(roles), splits)
  mean = lambda s: np.nanmean(
    sample_accuracy(tally(restrict(ratios, splits, known, s), roles, splits))
  )
  assert mean(VULNERABLE) > 0.75 and mean(PROTECTED) == pytest.approx(0.5, abs=0.04)


def test_on_noise_the_top_stratum_is_at_one_half(study):
  """Chosen and measured by other models; by the same ones it would not be."""
  roles, splits = study
  honest, cheated = [], []
  for seed in range(12):
    phi = scores(roles, 0.0, seed)
    ratios = within_halves(ulira, phi, roles, splits, variance="fixed", paired=True)
    known = strata(phi, roles, splits, positive=FORGOTTEN)
    for rows, into in ((known, honest), (known[::-1], cheated)):
      counts = tally(restrict(ratios, splits, rows, VULNERABLE), roles, splits)
      into.append(np.nanmean(sample_accuracy(counts)))
  assert np.mean(honest) == pytest.approx(0.5, abs=0.02) and np.mean(cheated) > 0.6


def test_samples_without_models_of_a_role_are_left_out(study):
  roles, splits = study
  roles = roles.copy()
  roles[:, 7] = NEVER
  found = strata(scores(roles, 1.0), trained_roles(roles), splits)
  assert (found[:, 7] == -1).all() and (found[:, 8] >= 0).all()


def test_misuse_is_refused(study):
  roles, splits = study
  phi = scores(roles, 0.0)
  with pytest.raises(DataError, match="at least two splits"):
    strata(phi[:4], roles[:4], splits[:4])
  with pytest.raises(ValueError, match="add up to 1"):
    strata(phi, roles, splits, shares=(0.5, 0.1))
  np.testing.assert_array_equal(half_of(np.array([5, 5, 9, 12, 9])), [0, 0, 1, 0, 1])
  assert RETAINED != FORGOTTEN
