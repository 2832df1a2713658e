"""Anybody's shadow models: simulated studies through the real verdict."""

import numpy as np
import pytest

from jaxmu.audit import audit_scores
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, role_matrix
from jaxmu.data.shadow_splits import shadow_study
from jaxmu.errors import DataError

SPLITS, FORGETS = 16, 4


def study(splits, forgets, samples):
  """Return roles [M, N] and splits [M]."""
  drawn = shadow_study(samples + 60, splits=splits, attempts=forgets, pool=samples)
  parts = [drawn.split(*model) for model in drawn.models.tolist()]
  roles = role_matrix([p.retain for p in parts], [p.forget for p in parts], drawn.pool)
  return roles, drawn.models[:, 0]


@pytest.fixture(scope="module")
def small():
  return study(SPLITS, FORGETS, 200)


def draw(roles, splits, rng, shift=0.0, shifted=slice(None), trained=0.0):
  """Scores with levels of each sample, effects of splits, and of samples in splits."""
  size, groups = roles.shape[1], np.unique(splits, return_inverse=True)[1]
  of_split = 0.3 * rng.normal(size=(groups.max() + 1, 1)) + 0.5 * rng.normal(
    size=(groups.max() + 1, size)
  )
  phi = 2 * rng.normal(size=size) + of_split[groups] + rng.normal(size=roles.shape)
  phi[:, shifted] += shift * (roles[:, shifted] == FORGOTTEN)
  return phi + trained * (roles != NEVER)


def references(roles, splits, rng):
  return {"retrained": draw(roles, splits, rng), "original": draw(roles, splits, rng, trained=1.5)}


def test_a_shift_is_found_and_the_tables_are_those_of_a_study(small):
  rng = np.random.default_rng(10)
  found = audit_scores(draw(*small, rng, 1.5), *small, **references(*small, rng))
  words = " ".join(found.verdict)
  assert "Forgotten samples are recognised after The unlearned models [0." in words
  assert "The interval contains one half, as it must" in words
  assert set(found.exposure["method"]) == {"retrained", "original", "unlearned"}
  keyed = found.exposure.set_index(["method", "question", "statistic"])
  assert keyed.loc[("unlearned", "forgotten", "accuracy"), "low"] > 0.6
  assert {"update", "vulnerable", "protected"} <= set(found.exposure["question"])
  bound = keyed.loc[("unlearned", "forgotten", "epsilon"), "value"]
  assert 0 <= bound <= keyed.loc[("unlearned", "forgotten", "epsilon_ceiling"), "value"]
  assert len(found.samples) == 3 * 200 and set(found.roc["method"]) >= {"unlearned"}
  assert str(found).startswith(found.verdict[0])


def test_noise_is_not_separable_and_missing_references_are_named(small):
  rng = np.random.default_rng(1)
  found = audit_scores(draw(*small, rng), *small, **references(*small, rng))
  assert "Not separable from retraining by this attack: The unlearned models." in found.verdict
  alone = audit_scores(draw(*small, rng), *small)
  assert {c.code for c in alone.cautions} >= {"no_reference"}


def test_over_forgotten_margins_are_recognised(small):
  """Audit D5: -300 against -220 with SD 40; a floor at -103.6 would hide it."""
  roles, splits = small
  rng = np.random.default_rng(2)
  phi = rng.normal(-220, 40, roles.shape) - 80 * (roles == FORGOTTEN)
  found = audit_scores(phi, roles, splits, variance="fixed")
  keyed = found.exposure.set_index(["method", "question", "statistic"])
  value = keyed.loc[("unlearned", "forgotten", "accuracy"), "value"]
  assert value == pytest.approx(0.83, abs=0.02)


def tail(roles, splits, rng, shift):
  """One percent of the samples is shifted by `shift`; is a leak in the tail called?"""
  few = rng.choice(roles.shape[1], roles.shape[1] // 100, replace=False)
  phi = draw(roles, splits, rng, shift, few)
  found = audit_scores(phi, roles, splits, retrained=draw(roles, splits, rng))
  return "leak in the tail" in " ".join(found.verdict)


def test_a_leak_in_the_tail_is_called_and_its_absence_is_not():
  """Audit D7, through the real verdict and not through tables that a test invents."""
  big = study(32, 4, 1000)
  rng = np.random.default_rng(3)
  assert all(tail(*big, rng, 5.0) for _ in range(2))
  assert not any(tail(*big, rng, 0.0) for _ in range(2))


@pytest.mark.slow
def test_a_leak_in_the_tail_over_a_hundred_studies():
  big = study(32, 4, 1000)
  rng = np.random.default_rng(4)
  assert sum(tail(*big, rng, 0.0) for _ in range(100)) <= 5
  assert sum(tail(*big, rng, 5.0) for _ in range(30)) >= 29


@pytest.mark.parametrize(
  "change, message",
  [
    ({"phi": np.zeros((3, 4))}, r"unlearned scores \(3, 4\), roles .* do not belong together"),
    ({"splits": np.zeros(5, int)}, r"splits \(5,\) do not belong together"),
    ({"retrained": np.zeros((2, 2))}, r"retrained scores \(2, 2\)"),
    ({"phi": np.nan}, "model 0 has scores that are not finite"),
    ({"roles": 7}, r"roles holds 7\.\.7; expected -1 excluded, 0 never seen"),
    ({"roles": 0}, "no model has the role 'forgotten'"),
    ({"splits": 0}, "at least two splits|expected .* splits|two splits"),
  ],
)
def test_misuse_is_answered_by_one_line(small, change, message):
  roles, splits = small
  given = {"phi": np.random.default_rng(5).normal(size=roles.shape), "roles": roles}
  given |= {"splits": splits}
  for name, value in change.items():
    given[name] = np.full_like(given[name], value) if np.isscalar(value) else value
  with pytest.raises(DataError, match=message) as error:
    audit_scores(**given)
  assert "\n" not in str(error.value)


def test_sets_of_different_sizes_and_cells_left_out_are_legal(small):
  rng = np.random.default_rng(6)
  roles, splits = small[0].copy(), small[1]
  roles[0, np.flatnonzero(roles[0] == FORGOTTEN)[:3]] = NEVER
  roles[1, 5] = roles[:, 9] = -1
  phi, retrained = draw(roles, splits, rng, 1.5), draw(roles, splits, rng)
  phi[1, 5] = phi[2, 9] = np.nan
  found = audit_scores(phi, roles, splits, retrained=retrained)
  assert "Forgotten samples are recognised" in " ".join(found.verdict)
  gone = roles.copy()
  gone[3] = -1
  failed = audit_scores(phi, gone, splits, retrained=retrained)
  assert {"failed"} <= {c.code for c in failed.cautions}
  few = np.where(np.cumsum(roles == FORGOTTEN, 1) > 5, np.minimum(roles, 1), roles)
  assert ((few == FORGOTTEN).sum(1) <= 5).all()
  table = audit_scores(phi, few, splits, retrained=retrained).exposure
  assert np.isnan(table.query("statistic == 'population'")["value"]).all()


def test_correctness_counts_for_all_or_for_none(small):
  """Real predictions of one side beside a guess for the other would make a false comparison."""
  rng = np.random.default_rng(7)
  phi, retrained = draw(*small, rng) - 3, draw(*small, rng) - 3  # right below one half
  right = np.ones(phi.shape, bool)
  accuracy = lambda found: found.exposure.query("statistic == 'accuracy_never'")["value"].to_numpy()
  alone = accuracy(audit_scores(phi, *small, correct=right, retrained=retrained))
  assert alone.max() < 0.3 and abs(alone[0] - alone[1]) < 0.1
  both = audit_scores(phi, *small, correct=right, retrained=retrained, retrained_correct=right)
  np.testing.assert_array_equal(accuracy(both), 1.0)
  with pytest.raises(DataError, match=r"unlearned scores \(3, 3\)"):
    audit_scores(phi, *small, correct=right[:3, :3])
