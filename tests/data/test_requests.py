"""Who is forgotten: what each rule chooses, and that its control is like it."""

import numpy as np
import pytest

from jaxmu import data
from jaxmu.data import requests, rounds
from jaxmu.data.requests import RULES, Facts
from jaxmu.data.splits import fixed_split, redrawn_split
from jaxmu.errors import DataError
from jaxmu.settings.choices import CONTROLS, REQUESTS
from jaxmu.settings.study_sections import ScenarioSettings

DIGITS = Facts.of(data.load("digits"))
PERSONS = Facts.of(data.load("identities"))


def base(facts, seed=123):
  return fixed_split(facts.num_train, len(facts.indices), seed=seed)


def apply(facts, seed=123, **asked):
  return requests.apply(base(facts, seed), facts, ScenarioSettings(**asked), seed)


def parts(split):
  return {name: set(getattr(split, name).tolist()) for name in ("train", "retain", "forget", "val")}


def test_random_is_the_split_as_it_was():
  plain, asked = base(DIGITS), apply(DIGITS, forget="random")
  assert asked.sha256 == plain.sha256 and asked.control is None
  np.testing.assert_array_equal(asked.unseen, plain.test)


def test_a_class_is_forgotten_entirely_and_compared_with_its_own_test_samples():
  split, plain = apply(DIGITS, forget="classes", classes="3"), base(DIGITS)
  assert set(DIGITS.labels[split.forget]) == {3} == set(DIGITS.labels[split.control])
  assert 3 not in DIGITS.labels[split.retain]
  assert parts(split)["train"] == parts(plain)["train"]
  np.testing.assert_array_equal(split.val, plain.val)
  np.testing.assert_array_equal(split.test, plain.test)
  assert set(split.control) == set(plain.test[DIGITS.labels[plain.test] == 3])
  np.testing.assert_array_equal(split.train, np.concatenate([split.retain, split.forget]))
  assert split.sizes["control"] == len(split.control)
  assert split.sha256 != plain.sha256


def test_half_of_two_classes():
  whole = apply(DIGITS, forget="classes", classes="0, 2")
  half = apply(DIGITS, forget="classes", classes="0,2", share=0.5)
  assert len(half.forget) == -(-len(whole.forget) // 2)
  assert set(half.forget) < set(whole.forget)
  assert {0, 2} <= set(DIGITS.labels[half.retain])
  assert set(half.control) == set(whole.control)


def test_unseen_persons_are_the_control_of_persons():
  split = apply(PERSONS, forget="groups", groups=8)
  gone, kept = (set(PERSONS.groups[part]) for part in (split.forget, split.retain))
  assert len(gone) == 8 and not gone & kept
  assert set(PERSONS.groups[split.control]) == set(range(96, 120))
  assert parts(split)["train"] == parts(base(PERSONS))["train"]


def test_where_all_groups_are_known_as_many_more_leave_training():
  groups = np.arange(len(DIGITS.labels)) % 40
  split = apply(DIGITS._replace(groups=groups), forget="groups", groups=5)
  gone, control = set(groups[split.forget]), set(groups[split.control])
  assert len(gone) == len(control) == 5 and not gone & control
  assert not (gone | control) & set(groups[split.retain])
  assert not control & set(groups[split.train])
  assert len(split.train) < len(base(DIGITS).train)
  assert not set(split.control) & parts(split)["train"]


def test_where_every_seed_draws_its_split_nobody_of_the_control_is_trained_on():
  plain = redrawn_split(PERSONS.num_train, len(PERSONS.indices), seed=5)
  asked = ScenarioSettings(forget="groups", groups=8)
  split = requests.apply(plain, PERSONS, asked, 5)
  gone, control = set(PERSONS.groups[split.forget]), set(PERSONS.groups[split.control])
  assert len(gone) == len(control) == 8
  assert not control & set(PERSONS.groups[split.train])


def test_of_the_most_exposed_one_half_is_forgotten_and_the_other_is_its_control():
  scores = np.random.default_rng(0).random(len(DIGITS.labels))
  facts = DIGITS._replace(scores=scores)
  split, plain = apply(facts, forget="ranked", scores="x"), base(DIGITS)
  count = len(plain.forget)
  assert len(split.forget) == len(split.control) == count
  both = np.concatenate([split.forget, split.control])
  ranked = plain.train[np.argsort(-scores[plain.train])][: 2 * count]
  assert set(both) == set(ranked) and len(set(both)) == 2 * count
  assert not set(split.control) & parts(split)["train"]
  assert len(split.train) == len(plain.train) - count
  lowest = apply(facts, forget="ranked", scores="x", take="lowest")
  assert scores[lowest.forget].max() < scores[split.forget].min()


def test_ranked_halves_differ_by_chance_alone():
  """Over many draws the forgotten half is no more exposed than its control."""
  scores = np.arange(len(DIGITS.labels), dtype=float)
  drawn = [apply(DIGITS._replace(scores=scores), seed, forget="ranked") for seed in range(40)]
  gaps = [scores[one.forget].mean() - scores[one.control].mean() for one in drawn]
  assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))


def test_samples_without_a_score_are_no_candidates():
  scores = np.full(len(DIGITS.labels), np.nan)
  scores[:600] = 1.0
  split = apply(DIGITS._replace(scores=scores), forget="ranked")
  assert max(split.forget.max(), split.control.max()) < 600


def test_other_seeds_draw_other_groups_and_the_same_ones_again():
  first, again = (apply(PERSONS, forget="groups", groups=8) for _ in range(2))
  other = apply(PERSONS, 124, forget="groups", groups=8)
  assert first.sha256 == again.sha256
  assert set(PERSONS.groups[first.forget]) != set(PERSONS.groups[other.forget])


def test_methods_may_read_a_share_of_the_retain_set_and_all_of_it_is_measured():
  plain = base(DIGITS)
  half = rounds.limit(plain, 0.5, 123)
  assert len(half.access) == round(0.5 * len(plain.retain)) < len(plain.retain)
  assert set(half.access) < set(plain.retain)
  np.testing.assert_array_equal(half.retain, plain.retain)
  assert half.trained_sizes["retain"] == len(half.access)
  assert half.sizes["retain"] == len(plain.retain)
  assert half.sha256 != plain.sha256
  assert rounds.limit(plain, 1.0, 123) is plain
  assert len(rounds.limit(plain, 0.0, 123).access) == 0


def test_classes_by_name_or_number_once_each():
  names = ("cat", "dog", "emu")
  assert requests.classes("dog,0,dog", names) == [1, 0]


@pytest.mark.parametrize(
  ("facts", "asked", "words"),
  [
    (DIGITS, {"forget": "classes", "classes": "12"}, "has '12'; expected numbers from 0 to 9"),
    (DIGITS, {"forget": "classes", "classes": "tree"}, "has 'tree'"),
    (DIGITS, {"forget": "classes", "classes": ",".join("0123456789")}, "names 10 of 10 classes"),
    (DIGITS, {"forget": "groups", "groups": 3}, "but the data set has no groups"),
    (DIGITS, {"forget": "ranked"}, "but the data set has no scores"),
    (
      DIGITS._replace(scores=np.where(np.arange(len(DIGITS.labels)) < 200, 1.0, np.nan)),
      {"forget": "ranked"},
      "123 samples are to be forgotten and as many to be control, but 1.. of 1222",
    ),
    (PERSONS, {"forget": "groups", "groups": 96}, "is 96, but the training part has 96"),
    (
      DIGITS._replace(groups=np.arange(len(DIGITS.labels)) % 9),
      {"forget": "groups", "groups": 5},
      "is 5 and as many as control, but the training part has 9",
    ),
  ],
)
def test_requests_that_nobody_can_meet_are_one_line(facts, asked, words):
  with pytest.raises(DataError, match=words) as caught:
    apply(facts, **asked)
  assert "\n" not in str(caught.value)


def test_every_rule_says_what_it_compares_with():
  assert set(RULES) == set(REQUESTS) == set(CONTROLS)
  for rule in RULES.values():
    assert rule.summary and rule.control


def test_each_class_is_forgotten_once_whatever_the_classes_are_called():
  names = ("1", "2", "0")  # names that are the numbers of other classes
  labels = np.tile(np.arange(3), 40)
  facts = Facts(90, np.arange(120), labels, class_names=names)
  asked = ScenarioSettings(forget="classes", classes="each")
  base = fixed_split(90, 120)
  assert requests.draws(asked, facts) == 3
  for draw in range(3):
    split = requests.apply(base, facts, asked, 123, draw)
    assert set(labels[split.forget]) == set(labels[split.control]) == {draw}
    assert draw not in labels[split.retain]


def test_draws_of_a_share_are_apart_and_the_first_one_is_the_split_as_it_was():
  facts = Facts(90, np.arange(120))
  base, asked = fixed_split(90, 120, forget_fraction=0.2), ScenarioSettings(draws=3)
  found = [requests.apply(base, facts, asked, 123, draw) for draw in range(3)]
  assert found[0] is base
  forgotten = {tuple(np.sort(split.forget)) for split in found}
  assert len(forgotten) == 3 and {len(one) for one in forgotten} == {len(base.forget)}
  for split in found:
    np.testing.assert_array_equal(np.sort(split.train), np.sort(base.train))
    assert not np.intersect1d(split.retain, split.forget).size
