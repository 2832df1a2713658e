"""Questions to a study, on drawn scores of which the answers are known."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxmu.audit import questions
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.attacks.roles import EXCLUDED, FORGOTTEN, NEVER, RETAINED, exclude, role_matrix
from jaxmu.audit.questions import Case
from jaxmu.data.shadow_splits import shadow_study

SPLITS, FORGETS, SAMPLES = 16, 6, 300


@pytest.fixture(scope="module")
def roles():
  """Roles [96, 300] and splits [96] of a small study."""
  study = shadow_study(400, splits=SPLITS, attempts=FORGETS, pool=SAMPLES)
  parts = [study.split(*model) for model in study.models.tolist()]
  found = role_matrix([p.retain for p in parts], [p.forget for p in parts], study.pool)
  return found, study.models[:, 0]


def case(roles, seed, **shifts):
  """Draw unit Gaussians about a level of each sample's own, shifted by role."""
  found, splits = roles
  rng = np.random.default_rng(seed)
  phi = rng.normal(size=found.shape) + rng.normal(0, 2, found.shape[1])
  for role, name in ((FORGOTTEN, "forgotten"), (RETAINED, "retained")):
    phi += shifts.get(name, 0.0) * (found == role)
  return Case(phi.astype(np.float32), phi > 0, found, splits)


def attacker(roles):
  return questions.choose("normal", "auto", *roles)


def test_few_forgetting_models_pool_variances(roles):
  found = attacker(roles)
  assert found.few and found.of_few == "scaled" and found.paired  # 4.8 models forgot a sample
  assert questions.choose("normal", "sample", *roles).of_few == "sample"
  many = np.repeat(roles[0], 4, 0), np.repeat(roles[1], 4)
  assert not questions.choose("normal", "auto", *many).few
  assert questions.choose("normal", "fixed", *many).of_few == "fixed"
  assert attacker(roles)._replace(variance="sample").of_many == "sample"


def test_known_shifts_are_found_and_noise_is_not(roles):
  noise = case(roles, 1)
  found = questions.forgotten(noise, attacker(roles), noise).table
  for name in ("accuracy", "auc", "population", "rmia_auc", "sample_mean"):
    assert found[name].low < 0.5 < found[name].high, name
    assert abs(found[name].value - 0.5) < (0.06 if name == "population" else 0.03), name
  assert abs(found["confirmed_worst"].value - 0.5) < 0.2  # of three samples
  shifted = questions.forgotten(case(roles, 2, forgotten=2.0), attacker(roles), noise).table
  assert shifted["accuracy"].value == pytest.approx(norm.cdf(1), abs=0.03)
  assert shifted["auc"].value == pytest.approx(norm.cdf(2**0.5), abs=0.03)
  assert shifted["accuracy"].low > found["accuracy"].high
  assert shifted["population"].value < shifted["accuracy"].value - 0.1  # levels hide it there


def test_the_population_attack_is_that_of_the_main_tables(roles):
  one = case(roles, 3, forgotten=1.0)
  found = questions.forgotten(one, attacker(roles), one).table["population"]
  losses = -np.log(1 / (1 + np.exp(-one.phi.astype(float))))
  each = [
    population_mia(x[r == NEVER], x[r == FORGOTTEN]).accuracy for x, r in zip(losses, one.roles)
  ]
  assert found.value == pytest.approx(np.mean(each), abs=1e-12)


def test_a_change_of_retained_samples_is_paired_with_the_original(roles):
  before = questions.retained(case(roles, 4, retained=1.0), attacker(roles), None)
  assert not any(name.startswith("change") for name in before.table)
  same = questions.retained(case(roles, 4, retained=1.0), attacker(roles), before).table
  assert same["change_mean"].value == same["change_net"].value == 0
  less = questions.retained(case(roles, 4), attacker(roles), before).table
  more = questions.retained(case(roles, 4, retained=3.0), attacker(roles), before).table
  assert less["change_net"].high < 0 < more["change_net"].low
  assert more["accuracy"].value == pytest.approx(norm.cdf(1.5), abs=0.03)


def test_membership_of_originals_counts_all_that_they_trained_on(roles):
  once = case(roles, 5, retained=2.0, forgotten=2.0).rows(np.arange(0, len(roles[1]), FORGETS))
  found = questions.trained(once, attacker(roles))
  assert found.table["accuracy"].value == pytest.approx(norm.cdf(1), abs=0.05)
  assert (found.exposure.tally.positives.sum(0) + found.exposure.tally.negatives.sum(0)).max() == 16


def test_diverged_models_are_as_if_they_were_not_there(roles):
  failed = np.zeros(len(roles[1]), bool)
  failed[[3, 40, 41, 90]] = True
  whole = case(roles, 6, forgotten=1.0)
  phi = np.where(failed[:, None], np.float32(np.nan), whole.phi)
  marked = whole._replace(phi=phi, roles=exclude(whole.roles, failed))
  kept = whole.rows(~failed)
  assert (marked.roles[3] == EXCLUDED).all() and marked.alive.sum() == 92
  numbers = lambda one: {
    name: list(interval)
    for name, interval in questions.forgotten(one, attacker(roles), one).table.items()
  }
  found, expected = numbers(marked), numbers(kept)
  assert list(found) == list(expected)
  np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-9)
  assert questions.model(marked) == questions.model(kept)


def test_klom_needs_models_and_tells_shifts_from_noise(roles):
  noise = case(roles, 7)
  few = questions.forgotten(noise, attacker(roles), noise).table["klom_q95"]
  assert np.isnan(few.value)
  often = (roles[0] == FORGOTTEN).sum(0) > 4
  many = np.tile(roles[0][:, often], (30, 1)), np.tile(roles[1], 30)
  retrained = case(many, 8)
  shifted = questions._klom(case(many, 9, forgotten=4.0), retrained)
  assert questions._klom(retrained, retrained) < 2 and shifted > 8


def test_accuracies_are_by_role(roles):
  one = case(roles, 10)._replace(correct=roles[0] == RETAINED)
  found = questions.model(one)
  assert [found[f"accuracy_{n}"].value for n in ("retained", "forgotten", "never")] == [1, 0, 0]
