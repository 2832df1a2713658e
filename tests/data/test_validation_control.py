"""What a search compares with: like the forgotten samples, and in no other part than validation."""

import numpy as np
import pytest

from jaxmu import data
from jaxmu.data import requests, shadow_splits, validation_control
from jaxmu.data.requests import Facts
from jaxmu.data.splits import fixed_split, redrawn_split
from jaxmu.errors import DataError
from jaxmu.settings.choices import REQUESTS, SEARCHED
from jaxmu.settings.study_sections import ScenarioSettings

DIGITS = Facts.of(data.load("digits"))
PERSONS = Facts.of(data.load("identities"))
SCORED = DIGITS._replace(scores=np.random.default_rng(0).random(len(DIGITS.labels)))
EVERYWHERE = DIGITS._replace(groups=np.arange(len(DIGITS.labels)) % 40)  # no group is unseen


def both(facts, plain=None, seed=123, **asked):
  """Return the split of a request, and that of a search for it."""
  plain = plain or fixed_split(facts.num_train, len(facts.indices))
  settings = ScenarioSettings(**asked)
  split = requests.apply(plain, facts, settings, seed)
  return split, validation_control.add(split, facts, settings, seed)


CASES = {
  "a class": (DIGITS, {"forget": "classes", "classes": "3"}),
  "half of two classes": (DIGITS, {"forget": "classes", "classes": "0,8", "share": 0.5}),
  "persons": (PERSONS, {"forget": "groups", "groups": 8}),
  "groups of which none is unseen": (EVERYWHERE, {"forget": "groups", "groups": 8}),
  "half of their samples": (PERSONS, {"forget": "groups", "groups": 8, "share": 0.5}),
  "the most exposed": (SCORED, {"forget": "ranked", "scores": "x"}),
}


@pytest.mark.parametrize("redrawn", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_it_is_in_no_part_that_is_trained_on_or_tested(case, redrawn):
  facts, asked = CASES[case]
  sizes = facts.num_train, len(facts.indices)
  plain = redrawn_split(*sizes, seed=7) if redrawn else fixed_split(*sizes)
  request, split = both(facts, plain, **asked)
  unseen = split.val_unseen
  assert len(unseen) == len(set(unseen)) > 5
  for part in (split.train, split.retain, split.forget, split.test, split.control, request.control):
    assert not np.intersect1d(unseen, part).size
  # What a benchmark tests with stays out of the search: the same parts, and nobody trains on them.
  for part in ("test", "control", "val"):
    np.testing.assert_array_equal(getattr(split, part), getattr(request, part))
  assert not np.intersect1d(split.train, request.control).size
  assert set(split.train) | set(unseen) <= set(request.train) | set(request.val)
  np.testing.assert_array_equal(split.train, np.concatenate([split.retain, split.forget]))


def test_a_random_share_is_compared_with_all_validation_samples_as_it_was():
  request, split = both(DIGITS, forget="random")
  assert split is request and split.val_control is None
  np.testing.assert_array_equal(split.val_unseen, split.val)


def test_a_class_is_compared_with_its_own_validation_samples():
  for asked in ({"classes": "3"}, {"classes": "3", "share": 0.5}):
    request, split = both(DIGITS, forget="classes", **asked)
    own = split.val[DIGITS.labels[split.val] == 3]
    np.testing.assert_array_equal(split.val_unseen, own)
    np.testing.assert_array_equal(split.train, request.train)
    assert split.sha256 != request.sha256


@pytest.mark.parametrize(("facts", "left"), [(PERSONS, 96), (EVERYWHERE, 32)])
def test_persons_are_compared_with_as_many_whom_nobody_knows(facts, left):
  request, split = both(facts, forget="groups", groups=8)
  of = lambda part: set(facts.groups[part].tolist())
  assert len(of(split.val_unseen)) == 8 == len(of(split.forget))
  assert not of(split.val_unseen) & (of(split.train) | of(split.control))
  assert len(of(request.train)) == left and len(of(split.train)) == left - 8
  np.testing.assert_array_equal(split.forget, request.forget)


def test_half_of_a_person_is_compared_with_unseen_samples_of_the_same_person():
  """Models that keep the other half know the person, and strangers would be a trap."""
  request, split = both(PERSONS, forget="groups", groups=8, share=0.5)
  assert set(PERSONS.groups[split.val_unseen]) <= set(PERSONS.groups[split.forget])
  assert set(split.val_unseen) < set(split.val)
  np.testing.assert_array_equal(split.train, request.train)


def test_of_those_whom_nobody_else_is_like_one_half_is_forgotten_and_the_other_is_the_control():
  listed = data.listed_split(np.arange(40), DIGITS.num_train, len(DIGITS.labels))
  facts = DIGITS._replace(listed=requests.Listed(np.arange(40)))
  cases = [(SCORED, None, {"forget": "ranked"}), (facts, listed, {"forget": "listed"})]
  for facts, plain, asked in cases:
    request, split = both(facts, plain, **asked)
    halves = split.forget, split.val_unseen
    assert abs(len(halves[0]) - len(halves[1])) <= 1
    assert set(np.concatenate(halves)) == set(request.forget)
    np.testing.assert_array_equal(split.retain, request.retain)
    np.testing.assert_array_equal(split.unseen, request.unseen)


def test_the_halves_differ_by_chance_alone():
  scores = np.arange(len(DIGITS.labels), dtype=float)
  facts, gaps = DIGITS._replace(scores=scores), []
  for seed in range(40):
    _, split = both(facts, seed=seed, forget="ranked")
    gaps.append(scores[split.forget].mean() - scores[split.val_unseen].mean())
  assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))


def test_shadow_models_are_compared_with_validation_samples_of_the_request():
  study = shadow_splits.shadow_study(DIGITS.num_train, splits=2, attempts=1)
  asked = ScenarioSettings(forget="classes", classes="3")
  drawn = shadow_splits.of_request(study, DIGITS, asked, 123)
  split = drawn.searched(1, 0)
  assert set(DIGITS.labels[split.val_unseen]) == {3} == set(DIGITS.labels[split.forget])
  assert set(split.val_unseen) < set(split.val)
  assert study.searched(1, 0).sha256 == study.split(1, 0).sha256


def test_labels_of_test_samples_decide_nothing():
  labels = DIGITS.labels.copy()
  labels[DIGITS.num_train :] = np.roll(labels[DIGITS.num_train :], 7)
  for asked in ({"forget": "classes", "classes": "3"}, {"forget": "ranked"}):
    facts = SCORED._replace(labels=labels)
    for part in ("train", "retain", "forget", "val", "val_control"):
      here, there = (both(one, **asked)[1] for one in (SCORED, facts))
      np.testing.assert_array_equal(getattr(here, part), getattr(there, part))


def test_too_few_groups_are_one_line():
  words = "groups is 50 and as many as validation control, but the training part has 96"
  with pytest.raises(DataError, match=words) as caught:
    both(PERSONS, forget="groups", groups=50)
  assert "\n" not in str(caught.value)


def test_every_rule_says_what_a_search_compares_with():
  assert set(SEARCHED) == set(REQUESTS)
