"""Requests: which training samples are to be forgotten, and which unseen ones are like them.

A fair attack compares forgotten samples with unseen ones that are exchangeable with them, the
*control*: models that never saw a class are bad at all of it, so against all test samples even a
retrained model seems to remember (it does badly on purpose). A rule is a pure function.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxmu.data.listed_request import Listed
from jaxmu.data.splits import Split
from jaxmu.errors import DataError, closest, short
from jaxmu.settings.choices import (
  CLASSES,
  CONTROLS,
  EACH,
  GROUPS,
  LISTED,
  LOWEST,
  RANDOM,
  RANKED,
  READS,
)
from jaxmu.settings.study_sections import ScenarioSettings

if TYPE_CHECKING:
  from jaxmu.data.arrays import Dataset

STREAM = 3  # apart from other uses of the seed of a split


class Facts(NamedTuple):
  """What is known of samples without their images; training samples come first.

  Attributes:
    indices: position of each as the data set stores it, int [N].
    labels, groups: int [N]; None where they were not read, or the data have none.
    scores: by which samples are ranked, [N], NaN where unknown; None where nobody asks.
    listed: rows that a file names, to forget and to compare with; None where there is no file.
  """

  num_train: int
  indices: np.ndarray
  labels: np.ndarray | None = None
  groups: np.ndarray | None = None
  class_names: tuple[str, ...] = ()
  scores: np.ndarray | None = None
  listed: Listed | None = None

  @classmethod
  def of(cls, dataset: "Dataset", scores: np.ndarray | None = None) -> "Facts":
    """Return what a data set knows."""
    known = dataset.labels, dataset.groups, dataset.class_names
    return cls(dataset.num_train, dataset.indices, *known, scores)


class Chosen(NamedTuple):
  """Positions in the data set.

  Attributes:
    forget: of the training samples.
    control: unseen samples to compare with; None: the whole test part.
    unused: training samples that nobody trains on, so that they can be control.
  """

  forget: np.ndarray
  control: np.ndarray | None
  unused: np.ndarray


class Rule(NamedTuple):
  """Who is forgotten.

  Attributes:
    choose: given a split to choose from, what is known of samples, and what is asked; None leaves
      the split as it is.
    summary: what it is for, in a line.
    control: what forgotten samples are compared with, in words.
    reads: entries of `config.scenario`.
    needs: the facts that it cannot do without.
  """

  choose: Callable[[Split, Facts, ScenarioSettings, np.random.Generator], Chosen] | None
  summary: str
  control: str
  reads: tuple[str, ...] = ()
  needs: tuple[str, ...] = ()


def draws(asked: ScenarioSettings, facts: Facts) -> int:
  """Count the forget sets of a seed."""
  each = asked.forget == CLASSES and asked.classes == EACH
  return len(facts.class_names) if each else asked.draws


def apply(base: Split, facts: Facts, asked: ScenarioSettings, seed: int, draw: int = 0) -> Split:
  """Return what remains of a split after a request: the same training part, forgotten otherwise.

  Args:
    base: its `train` is chosen from; validation and test part stay.
    seed: of everything that is drawn.
    draw: number of the forget set; draws are independent, and "each" class is one.

  Raises:
    DataError: the data do not have what the rule needs, or a part would be empty.
  """
  rule = RULES[asked.forget]
  rng = np.random.default_rng((seed, STREAM, draw) if draw else (seed, STREAM))
  if rule.choose is None:
    return _redrawn(base, rng) if draw else base
  refuse_lacking(facts, asked)
  if asked.classes == EACH:
    found = _of_classes([draw], base, facts, asked.share, rng)
  else:
    found = rule.choose(base, facts, asked, rng)
  gone = np.isin(base.train, np.concatenate([found.forget, found.unused]))
  retain = base.train[~gone]
  parts = {"retain": retain, "forget": found.forget, "control": found.control}
  for name, part in parts.items():
    if part is not None and not len(part):
      raise DataError(
        f"config.scenario.forget is '{asked.forget}' and leaves nothing in the {name} set; ask for "
        "fewer classes or groups, or use more data"
      )
  train = np.concatenate([retain, found.forget])
  return Split(train, retain, found.forget, base.val, base.test, found.control)


def _redrawn(base: Split, rng: np.random.Generator) -> Split:
  """Return a split that forgets as many other samples of the same training part, at random."""
  drawn, count = rng.permutation(base.train), len(base.forget)
  retain, forget = drawn[count:], drawn[:count]
  return replace(base, train=np.concatenate([retain, forget]), retain=retain, forget=forget)


def _classes(
  base: Split, facts: Facts, asked: ScenarioSettings, rng: np.random.Generator
) -> Chosen:
  """Choose the training samples of the classes that are named, or a share of them."""
  named = classes(asked.classes, facts.class_names)
  return _of_classes(named, base, facts, asked.share, rng)


def _of_classes(
  wanted: list[int], base: Split, facts: Facts, share: float, rng: np.random.Generator
) -> Chosen:
  assert facts.labels is not None
  of_class = lambda part: part[np.isin(facts.labels[part], wanted)]
  return Chosen(_some(of_class(base.train), share, rng), of_class(base.test), _NOBODY)


def _groups(base: Split, facts: Facts, asked: ScenarioSettings, rng: np.random.Generator) -> Chosen:
  """Choose the training samples of some groups; groups that nobody trains on are the control.

  Where every group of the test part is trained on as well, as many further groups leave training.
  """
  assert facts.groups is not None
  trained = np.unique(facts.groups[base.train])
  strange = np.setdiff1d(facts.groups[base.test], facts.groups[np.r_[base.train, base.val]])
  order, count = rng.permutation(trained), asked.groups
  wanted = count if len(strange) else 2 * count
  if wanted >= len(trained):
    control = "" if len(strange) else " and as many as control"
    raise too_many_groups(count, control, len(trained))
  of_groups = lambda part, some: part[np.isin(facts.groups[part], some)]
  forget = _some(of_groups(base.train, order[:count]), asked.share, rng)
  if len(strange):
    return Chosen(forget, of_groups(base.test, strange), _NOBODY)
  left = order[count:wanted]
  unseen = np.concatenate([of_groups(part, left) for part in (base.train, base.test)])
  return Chosen(forget, unseen, of_groups(base.train, left))


def _ranked(base: Split, facts: Facts, asked: ScenarioSettings, rng: np.random.Generator) -> Chosen:
  """Choose among the samples with the highest or lowest scores, at random one half of them.

  The other half leaves training and is the control: who is forgotten was drawn, so the two differ
  in nothing.
  """
  assert facts.scores is not None
  own, count = facts.scores[base.train], len(base.forget)
  known = base.train[np.isfinite(own)]
  if 2 * count > len(known) or 2 * count >= len(base.train):
    raise DataError(
      f"config.scenario.forget is '{RANKED}': {count} samples are to be forgotten and as many to "
      f"be control, but {len(known)} of {len(base.train)} training samples have a score; expected "
      "more scores, or a smaller config.data.forget_fraction"
    )
  sign = 1 if asked.take == LOWEST else -1
  # Ties in the order of a permutation, not of the data.
  mixed = rng.permutation(known)
  ranked = mixed[np.argsort(sign * facts.scores[mixed], kind="stable")][: 2 * count]
  forget, control = np.split(rng.permutation(ranked), 2)
  return Chosen(np.sort(forget), np.sort(control), control)


def _listed(base: Split, facts: Facts, asked: ScenarioSettings, rng: np.random.Generator) -> Chosen:
  """Choose what a list says; a base split is made for it, whose other parts have none of it."""
  del base, asked, rng
  assert facts.listed is not None
  return Chosen(*facts.listed, _NOBODY)


def classes(given: str, names: tuple[str, ...]) -> list[int]:
  """Read classes by number or name, apart by commas.

  Raises:
    DataError: there is no such class, or all of them are named.
  """
  found = []
  for word in filter(None, map(str.strip, given.split(","))):
    if word in names:
      found.append(names.index(word))
    elif word.isdecimal() and int(word) < len(names):
      found.append(int(word))
    else:
      expected = closest(word, names) if len(names) <= 20 else "see the data set's class_names"
      raise DataError(
        f"config.scenario.classes has '{short(word)}'; expected numbers from 0 to {len(names) - 1} "
        f"or names: {expected}"
      )
  found = list(dict.fromkeys(found))
  if not found or len(found) == len(names):
    raise DataError(
      f"config.scenario.classes names {len(found)} of {len(names)} classes; expected at least one, "
      "and not all: set --config.scenario.classes=3"
    )
  return found


def refuse_lacking(facts: Facts, asked: ScenarioSettings) -> None:
  """Raise DataError where the data do not have what a rule needs."""
  for name in RULES[asked.forget].needs:
    if getattr(facts, name) is None:
      raise DataError(
        f"config.scenario.forget is '{asked.forget}', but the data set has no {name}; expected a "
        "data set with them (identities, cifar100, or an npz file of your own): choose another "
        "rule or data set"
      )


def too_many_groups(count: int, control: str, known: int) -> DataError:
  """Return the error of a request for groups, and as many as `control` in words, that are all."""
  return DataError(
    f"config.scenario.groups is {count}{control}, but the training part has {known}; expected "
    "fewer, so that some remain"
  )


def _some(samples: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
  """Return a share of samples, rounded up, in their order."""
  if share == 1:
    return samples
  kept = rng.permutation(len(samples))[: math.ceil(share * len(samples))]
  return samples[np.sort(kept)]


_NOBODY = np.empty(0, np.int64)
RULES: Mapping[str, Rule] = {
  RANDOM: Rule(
    None,
    "a uniformly random share of the training samples (config.data.forget_fraction), as the paper",
    CONTROLS[RANDOM],
  ),
  CLASSES: Rule(
    _classes,
    "all samples of some classes, or a share of them (sub-class forgetting), or each class in turn",
    CONTROLS[CLASSES],
    READS[CLASSES],
    ("labels",),
  ),
  GROUPS: Rule(
    _groups,
    "all samples of randomly drawn users, persons or other groups, or a share of them",
    f"{CONTROLS[GROUPS]}: those of the test part alone, else as many further ones, which leave "
    "training",
    READS[GROUPS],
    ("groups",),
  ),
  RANKED: Rule(
    _ranked,
    "the most (or least) exposed training samples, by a study's attack or a file of numbers; "
    "config.data.forget_fraction says how many",
    CONTROLS[RANKED],
    READS[RANKED],
    ("scores",),
  ),
  LISTED: Rule(
    _listed,
    "the training samples of a list of one's own (`forget`), which may name its control as well",
    CONTROLS[LISTED],
    READS[LISTED],
  ),
}
