"""What a search compares forgotten samples with: unseen ones like them that no test reads.

A search chooses by an attack, and that is a membership test only where the unseen samples are
exchangeable with the forgotten ones, as in `requests`. The control of a request is for tests, so a
choice brings one of its own, the *validation control*. Where it has to be unseen on purpose it
comes out of the training part: test part and control are those of a benchmark.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from jaxmu.data import requests
from jaxmu.data.requests import Facts
from jaxmu.data.splits import Split
from jaxmu.settings.choices import CLASSES, GROUPS, LISTED, RANDOM, RANKED
from jaxmu.settings.study_sections import ScenarioSettings

STREAM = 7  # apart from other uses of the seed of a split
Adding = Callable[[Split, Facts, ScenarioSettings, np.random.Generator], Split]


def add(split: Split, facts: Facts, asked: ScenarioSettings, seed: int) -> Split:
  """Return the split of a request as a search has it; a random share's as it is.

  Args:
    split: a request's, with all that it forgets.
    seed: of everything that is drawn.

  Raises:
    DataError: nothing remains to train on.
  """
  if asked.forget == RANDOM:
    return split
  return _ADDING[asked.forget](split, facts, asked, np.random.default_rng((seed, STREAM)))


def among(split: Split, wanted: np.ndarray) -> Split:
  """Return a split with the validation samples that are `wanted`, bool [N], as its control."""
  return replace(split, val_control=split.val[wanted[split.val]])


def _classes(
  split: Split, facts: Facts, asked: ScenarioSettings, rng: np.random.Generator
) -> Split:
  """Take validation samples of the classes: of a class, only chance decides who is trained on."""
  del rng
  return among(split, np.isin(facts.labels, requests.classes(asked.classes, facts.class_names)))


def _groups(split: Split, facts: Facts, asked: ScenarioSettings, rng: np.random.Generator) -> Split:
  """Take groups out of training, as many as are forgotten: nobody knows them, as retrained models.

  Who keeps a share of a group's samples knows the group, and unseen ones would be no comparison;
  its other unseen samples are.
  """
  assert facts.groups is not None
  if asked.share < 1:
    return among(split, np.isin(facts.groups, facts.groups[split.forget]))
  known, count = np.unique(facts.groups[split.retain]), asked.groups
  if count >= len(known):
    raise requests.too_many_groups(count, " and as many as validation control", len(known) + count)
  left = rng.permutation(known)[:count]
  gone = np.isin(facts.groups[split.retain], left)
  return _of(split, split.retain[~gone], split.forget, split.retain[gone])


def _halves(split: Split, facts: Facts, asked: ScenarioSettings, rng: np.random.Generator) -> Split:
  """Take a random half of what is to be forgotten: nobody else is known to be like it."""
  del facts, asked
  forget, control = np.array_split(rng.permutation(split.forget), 2)
  return _of(split, split.retain, np.sort(forget), np.sort(control))


def _of(split: Split, retain: np.ndarray, forget: np.ndarray, control: np.ndarray) -> Split:
  """Return a split with another training part."""
  train = np.concatenate([retain, forget])
  return replace(split, train=train, retain=retain, forget=forget, val_control=control)


_ADDING: Mapping[str, Adding] = {
  CLASSES: _classes,
  GROUPS: _groups,
  RANKED: _halves,
  LISTED: _halves,
}
