"""Further questions to a study, on drawn scores of which the answers are known."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxmu.audit import further_questions as further
from jaxmu.audit import questions
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED, exclude, role_matrix
from jaxmu.audit.questions import Case
from jaxmu.audit.study import study_tables
from jaxmu.data.shadow_splits import shadow_study

SPLITS, FORGETS, SAMPLES = 16, 6, 300


@pytest.fixture(scope="module")
def roles():
  study = shadow_study(400, splits=SPLITS, attempts=FORGETS, pool=SAMPLES)
  parts = [study.split(*model) for model in study.models.tolist()]
  found = role_matrix([p.retain for p in parts], [p.forget for p in parts], study.pool)
  return found, study.models[:, 0]


def original(roles, seed=0):
  """One original per split, standing once for each of its forget sets; it knows its samples."""
  found, splits = roles
  rng = np.random.default_rng(seed)
  once = rng.normal(size=(SPLITS, SAMPLES)) + rng.normal(0, 2, SAMPLES)
  phi = once[splits] + 1.5 * (found != NEVER)
  return Case(phi.astype(np.float32), phi > 0, found, splits)


def after(before, seed, change=0.0, noise=0.2):
  """The models after unlearning: their originals, a little disturbed, forgotten samples moved."""
  rng = np.random.default_rng(seed)
  phi = before.phi + noise * rng.normal(size=before.phi.shape)
  phi = phi + change * (before.roles == FORGOTTEN)
  return before._replace(phi=phi.astype(np.float32), correct=phi > 0)


def attacker(roles):
  return questions.choose("normal", "auto", *roles)


def test_an_unlearner_that_does_nothing_has_no_update_leakage(roles):
  before = original(roles)
  found = [
    further.update_leakage(after(before, seed), before, attacker(roles)) for seed in range(4)
  ]
  for name in ("auc", "retained_auc", "accuracy"):
    assert np.mean([one[name].value for one in found]) == pytest.approx(0.5, abs=0.02), name
  still = further.update_leakage(before, before, attacker(roles))
  assert still["auc"].value == pytest.approx(0.5, abs=1e-3) and still["accuracy"].value == 0.5


def test_a_change_of_the_forgotten_alone_leaks_though_the_scores_after_do_not(roles):
  """The change undoes what training did: afterwards nothing is left to see, but in between."""
  before = original(roles)
  undone = after(before, 1, change=-1.5)
  found = further.update_leakage(undone, before, attacker(roles))
  assert found["auc"].value > 0.99 and found["retained_auc"].value > 0.99
  plain = questions.forgotten(undone, attacker(roles), None).table
  assert plain["auc"].value == pytest.approx(0.5, abs=0.06)


def test_diverged_models_play_no_part_in_an_update(roles):
  before = original(roles)
  moved = after(before, 2, change=-1.5)
  failed = np.zeros(len(roles[1]), bool)
  failed[[3, 40]] = True
  phi = np.where(failed[:, None], np.float32(np.nan), moved.phi)
  marked = moved._replace(phi=phi, roles=exclude(moved.roles, failed))
  found = further.update_leakage(marked, before, attacker(roles))
  assert found["auc"].value > 0.99


def test_other_attackers_find_a_shift(roles):
  before = original(roles)
  found, splits = roles
  rng = np.random.default_rng(3)
  phi = rng.normal(size=found.shape) + (found == FORGOTTEN)
  right = rng.random(found.shape) < np.where(found == FORGOTTEN, 0.9, 0.6)
  case = Case(phi.astype(np.float32), right, found, splits)
  table = further.other_attackers(case, attacker(roles))
  assert table["kernel_auc"].value == pytest.approx(norm.cdf(2**-0.5), abs=0.06)
  assert table["label_only_auc"].value == pytest.approx(0.65, abs=0.04)
  noise = further.other_attackers(after(before, 4), attacker(roles))
  assert set(noise) == {"kernel_auc", "label_only_auc"}


def test_games_tell_the_vulnerable_from_the_protected(roles):
  found, splits = roles
  rng = np.random.default_rng(5)
  exposed = np.arange(SAMPLES) < SAMPLES // 10
  draw = lambda role, by: rng.normal(size=found.shape) + by * exposed * role
  before = Case(*(draw(found != NEVER, 3.0).astype(np.float32), None, found, splits))
  before = before._replace(correct=before.phi > 0)
  unlearned = before._replace(phi=draw(found == FORGOTTEN, 2.0).astype(np.float32))
  retrained = before._replace(phi=draw(found == RETAINED, 3.0).astype(np.float32))
  sorted_by = further.groups(before)
  private = further.privacy_game(unlearned, sorted_by, attacker(roles))
  assert private["vulnerable"]["accuracy"].value > 0.75
  assert private["protected"]["accuracy"].value == pytest.approx(0.5, abs=0.04)
  efficacy = further.efficacy_game(unlearned, retrained, sorted_by)
  assert efficacy["vulnerable"]["efficacy_auc"].value > 0.8
  assert efficacy["protected"]["efficacy_auc"].value == pytest.approx(0.5, abs=0.05)
  # All together: a tenth of the samples is shifted by two standard deviations.
  assert 0.5 < efficacy["forgotten"]["efficacy_auc"].value < 0.62


def test_retrained_twice_is_no_efficacy_signal(roles):
  found, splits = roles
  rng = np.random.default_rng(6)
  one, other = (
    Case(phi.astype(np.float32), phi > 0, found, splits)
    for phi in rng.normal(size=(2, *found.shape))
  )
  table = further.efficacy_game(one, other, None)
  assert set(table) == {"forgotten"}
  assert table["forgotten"]["efficacy_accuracy"].value == pytest.approx(0.5, abs=0.03)


def test_too_few_splits_have_no_strata(roles):
  few = original(roles).rows(roles[1] < 3)
  assert further.groups(few) is None


def test_diverged_originals_do_not_change_which_half_chooses(roles):
  """All originals of one split diverged: what chose the samples must still not measure them."""
  _, splits = roles
  failed = splits == 1
  before = original(roles)
  marked = before._replace(roles=exclude(before.roles, failed))
  kept = further.groups(marked)
  others = further.groups(before)
  agree = (kept == others).mean(1)
  assert agree[0] == 1  # split 1 is in the other half, whose choice it changes a little
  assert 0.5 < agree[1] < 1


def test_on_noise_strata_are_at_one_half(roles):
  """Also where many models of one half forgot a sample and few of the other: halves stay apart."""
  found, splits = roles
  rng = np.random.default_rng(8)
  values = {"vulnerable": [], "protected": []}
  for _ in range(25):
    of_split = rng.normal(size=(SPLITS, SAMPLES))
    phi = of_split[splits] + rng.normal(size=found.shape)
    case = Case(phi.astype(np.float32), phi > 0, found, splits)
    tables = further.privacy_game(case, further.groups(original(roles)), attacker(roles))
    for name, table in tables.items():
      values[name].append(table["accuracy"].value)
  assert np.mean(values["protected"]) == pytest.approx(0.5, abs=0.006)
  assert np.mean(values["vulnerable"]) == pytest.approx(0.5, abs=0.02)


def test_who_forgot_is_asked_of_the_samples_that_may_be_forgotten(roles):
  """As if the others were no samples at all; whom unlearning exposes is asked of all of them."""
  before, (found, splits) = original(roles), roles
  asked = np.sort(np.random.default_rng(3).permutation(SAMPLES)[:60])
  apart = np.isin(np.arange(SAMPLES), asked)
  of_these = np.where((found == FORGOTTEN) & ~apart, np.int8(RETAINED), found)
  cases = {
    "original": before._replace(roles=of_these),
    "ft": after(before, 1, change=-0.5)._replace(roles=of_these),
  }
  attack = questions.choose("normal", "auto", of_these[:, asked], splits)
  whole = study_tables.tables(cases, attack, asked=asked)
  alone = study_tables.tables({n: c.columns(asked) for n, c in cases.items()}, attack)
  for key, value in alone.exposures.items():
    if key[1] not in ("retained", "trained", "model"):
      np.testing.assert_equal(whole.exposures[key], value, err_msg=str(key))
  for name, columns in alone.samples.items():
    np.testing.assert_array_equal(whole.samples[name]["accuracy"][asked], columns["accuracy"])
    np.testing.assert_array_equal(whole.samples[name]["exposed"][asked], columns["exposed"])
    assert np.isnan(whole.samples[name]["accuracy"][~apart]).all()
    assert (whole.samples[name]["exposed"][~apart] == -1).all()
  assert len(whole.samples["ft"]["n_never"]) == SAMPLES
  size = [t.exposures["ft", "retained", "accuracy"].value for t in (whole, alone)]
  assert size[0] != size[1]
