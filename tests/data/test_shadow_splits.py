"""U-LiRA studies name the models of the reference: spec data_models 3.4 and evaluation 9.1."""

import hashlib

import numpy as np
import pytest
from support import golden_rules

from jaxmu import data
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED, role_matrix
from jaxmu.data.requests import Facts
from jaxmu.data.shadow_splits import ShadowStudy, of_request, shadow_study
from jaxmu.errors import DataError
from jaxmu.settings.study_sections import ScenarioSettings

# (split, attempt) -> part -> first indices, start of the SHA-256
FIXTURES = {
  (0, 0): {
    "retain": ([20281, 45159, 17342], "3ca35f5fea9bf06c"),
    "forget": ([16130, 45508, 17503], "2cc5cf7ddb8d6f6f"),
    "test": ([20654, 3367, 49156], "3ef9097f0c9d3534"),
  },
  (0, 9): {"forget": ([26716, 39535, 36207], "c9a492fd473376d3")},
  (1, 0): {
    "forget": ([6876, 11122, 12022], "e68aa65f147f26b3"),
    "test": ([4407, 5626, 4026], "b90497bc116c0ed9"),
  },
  (1, 9): {"forget": ([12749, 41842, 24578], "24cf1ba6fcf7adcd")},
  (63, 0): {"forget": ([42394, 4462, 39463], "320a681d32e11042")},
  (63, 9): {
    "retain": ([41647, 25068, 44566], "63e36a76d472dfe5"),
    "forget": ([10601, 44770, 46664], "5df9801ff614ea37"),
    "test": ([20977, 18303, 719], "725978d4a4786231"),
  },
}
TRAIN = {0: "2e9ec293f62d36e5", 1: "e05cc85ac3bf2113", 63: "f7fc19dbb28323aa"}


def sha(array):
  return hashlib.sha256(np.ascontiguousarray(array, "<i8").tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def study():
  return shadow_study(50_000)


def test_pool_and_validation_set_are_the_reference_s(study):
  assert (sha(study.pool), sha(study.val)) == ("90a45c1142975d75", "8316277275d26970")
  assert (len(study.pool), len(study.val), len(study.models)) == (47_500, 2_500, 640)


@pytest.mark.parametrize("model", FIXTURES)
def test_models_retain_and_forget_the_images_of_the_reference(study, model):
  split = study.split(*model)
  train = {"train": 23_750, "retain": 21_375, "forget": 2_375}
  assert split.sizes == train | {"val": 2_500, "test": 23_750}
  for part, (first, digest) in FIXTURES[model].items():
    array = getattr(split, part)
    assert list(array[:3]) == first
    assert sha(array) == digest
  np.testing.assert_array_equal(split.train, np.concatenate([split.retain, split.forget]))


@pytest.mark.parametrize("split", TRAIN)
def test_train_halves_are_the_reference_s(study, split):
  assert sha(study.halves(split)[0]) == TRAIN[split]


def test_samples_are_forgotten_and_unseen_as_often_as_in_the_reference(study):
  """Counts of spec evaluation 9.1 and 13.5, over all 640 models."""
  forgotten, never = np.zeros((2, 50_000), int)
  for split in range(64):
    never[study.halves(split)[1]] += 10
    for attempt in range(10):
      forgotten[study.split(split, attempt).forget] += 1
  forgotten, never = forgotten[study.pool], never[study.pool]
  assert forgotten.sum() == 1_520_000
  assert (forgotten.min(), forgotten.max()) == (8, 64)
  assert (never.min(), never.max()) == (160, 470)
  assert forgotten.mean() == 32
  assert never.mean() == 320
  assert forgotten.std() == pytest.approx(6.7, abs=0.05)
  assert never.std() == pytest.approx(40, abs=0.5)


def test_golden_study():
  golden = golden_rules.load("eval_ulira")
  order = np.random.default_rng(123).permutation(42)
  study = ShadowStudy(order[:-2], order[-2:])
  np.testing.assert_array_equal(study.pool, golden["dev"])
  np.testing.assert_array_equal(study.val, golden["val"])
  for split, attempt in study.models:
    found = study.split(split, attempt)
    np.testing.assert_array_equal(found.forget, golden["forget"][split, attempt])
    np.testing.assert_array_equal(found.test, golden["heldout"][split])
    if attempt == 0:
      np.testing.assert_array_equal(found.retain, golden["retain_first"][split])


def test_more_splits_keep_the_first_models():
  small, large = (shadow_study(200, splits=n, attempts=2) for n in (3, 5))
  np.testing.assert_array_equal(large.models[:6], small.models)
  for split, attempt in small.models:
    assert small.split(split, attempt).sha256 == large.split(split, attempt).sha256


def test_models_of_a_smaller_profile_are_all_different_and_inside_the_pool():
  study = shadow_study(400, splits=4, attempts=3, pool=100)
  np.testing.assert_array_equal(study.pool, shadow_study(400).pool[:100])
  assert len(study.pool) == 100
  splits = [study.split(*model) for model in study.models]
  assert len({s.sha256 for s in splits}) == 12
  for split in splits:
    np.testing.assert_array_equal(
      np.sort(np.concatenate([split.train, split.test])), np.sort(study.pool)
    )
    assert not np.isin(split.val, study.pool).any()
  roles = role_matrix([s.retain for s in splits], [s.forget for s in splits], study.pool)
  assert [(roles == role).sum() for role in (NEVER, RETAINED, FORGOTTEN)] == [600, 540, 60]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"splits": 1}, "has 1 splits and 10 attempts; expected at least 2 and 1"),
    ({"attempts": 0}, "has 64 splits and 0 attempts"),
    ({"pool": 19}, r"pool has 19 samples; expected 20\.\.95, of 100 training samples"),
    ({"pool": 96}, r"pool has 96 samples; expected 20\.\.95"),
  ],
)
def test_impossible_studies_are_refused(options, message):
  with pytest.raises(DataError, match=message):
    shadow_study(100, **options)


DIGITS, PERSONS = (Facts.of(data.load(name)) for name in ("digits", "identities"))


def requested(facts, splits=3, attempts=2, **asked):
  study = shadow_study(facts.num_train, splits=splits, attempts=attempts)
  return of_request(study, facts, ScenarioSettings(**asked), 123)


def parts(study):
  return [study.split(*model) for model in study.models.tolist()]


def test_a_random_request_is_the_study_as_it_was():
  study = shadow_study(DIGITS.num_train, splits=3)
  assert of_request(study, DIGITS, ScenarioSettings(), 123) is study


def test_models_forget_samples_of_a_class_of_their_half_all_as_many():
  study = requested(DIGITS, forget="classes", classes="5,7", share=0.25)
  counts = [np.isin(DIGITS.labels[study.halves(s)[0]], (5, 7)).sum() for s in range(3)]
  for k, split in enumerate(parts(study)):
    train, held_out = study.halves(k // 2)
    assert set(DIGITS.labels[split.forget]) == {5, 7}
    assert len(split.forget) == study.size <= -(-min(counts) // 4)
    assert set(split.train) == set(train) and set(split.test) == set(held_out)
    assert not set(split.retain) & set(split.forget)
    np.testing.assert_array_equal(split.train, np.concatenate([split.retain, split.forget]))
  assert len({split.sha256 for split in parts(study)}) == 6


def test_all_of_a_class_is_what_the_poorest_half_has_and_a_study_may_grow():
  study, larger = (requested(DIGITS, s, forget="classes", classes="7") for s in (3, 64))
  counts = [(DIGITS.labels[larger.halves(s)[0]] == 7).sum() for s in range(64)]
  assert study.size == larger.size == min(counts)
  assert [s.sha256 for s in parts(study)] == [s.sha256 for s in parts(larger)[:6]]


def test_all_models_forget_the_same_groups():
  study = requested(PERSONS, forget="groups", groups=12)
  gone = [set(PERSONS.groups[split.forget]) for split in parts(study)]
  assert len(set.union(*gone)) == 12
  again = requested(PERSONS, forget="groups", groups=12)
  np.testing.assert_array_equal(again.wanted, study.wanted)
  assert set(PERSONS.groups[study.wanted]) == set.union(*gone)


@pytest.mark.parametrize(
  ("facts", "asked", "message"),
  [
    (DIGITS, {"forget": "groups", "groups": 3}, "but the data set has no groups"),
    (PERSONS, {"forget": "groups", "groups": 96}, "is 96, but the training part has 96; expected"),
    (DIGITS, {"forget": "classes", "classes": "10"}, "has '10'; expected numbers from 0 to 9"),
  ],
)
def test_requests_that_no_study_can_meet_are_refused(facts, asked, message):
  with pytest.raises(DataError, match=message):
    requested(facts, **asked)


def test_models_outside_the_study_are_refused():
  study = shadow_study(100, splits=3, attempts=2)
  with pytest.raises(DataError, match=r"split 3 is not in this study; expected 0\.\.2"):
    study.split(3, 0)
  with pytest.raises(DataError, match=r"attempt 2 is not in this study; expected 0\.\.1"):
    study.split(0, 2)
