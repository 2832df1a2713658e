"""The shadow models of a U-LiRA study: who trains on what, and who is to forget what.

`splits.py` holds the three draws of spec evaluation 9.1; here they become the list of models of one
study, in an order that keeps its beginning when splits are added.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from jaxmu.data import requests, validation_control
from jaxmu.data.requests import Facts
from jaxmu.data.splits import Split, ulira_attempt, ulira_pool, ulira_split
from jaxmu.errors import DataError
from jaxmu.settings.choices import CLASSES, GROUPS, RANDOM
from jaxmu.settings.study_sections import ScenarioSettings

SPLITS, ATTEMPTS = 64, 10  # the reference's protocol: 640 models
STREAM = 5  # apart from other uses of the same seeds


@dataclass(frozen=True, eq=False)
class ShadowStudy:
  """Hold the pool [P] and validation set [V] of a study, int64 indices into the data set.

  Model (s, f) trains on one half of the pool, drawn by split s, and forgets a tenth of that half,
  drawn by attempt f. Forget sets of one split overlap; the validation set is never trained on.

  Where a request says who is forgotten, `wanted` are its samples, bool over the data set, and every
  model forgets `size` of those in its half. Models that never saw one of them forget others of
  them, so that the two kinds of models differ by that sample alone.
  """

  pool: np.ndarray
  val: np.ndarray
  splits: int = SPLITS
  attempts: int = ATTEMPTS
  wanted: np.ndarray | None = None
  size: int = 0

  @property
  def models(self) -> np.ndarray:
    """List (split, attempt) of every model, int64 [splits * attempts, 2], split by split.

    A study with more splits starts with the same models.
    """
    grid = np.meshgrid(np.arange(self.splits), np.arange(self.attempts), indexing="ij")
    return np.stack(grid, -1).reshape(-1, 2)

  def halves(self, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the train and held-out half of the pool, [P // 2] and [P - P // 2]."""
    _refuse_outside("split", split, self.splits)
    return ulira_split(self.pool, split)

  def split(self, split: int, attempt: int) -> Split:
    """Return what model (split, attempt) retains and forgets; `test` is the held-out half.

    `train` is retain followed by forget, as the reference orders it.
    """
    train, held_out = self.halves(split)
    _refuse_outside("attempt", attempt, self.attempts)
    if self.wanted is None:
      retain, forget = ulira_attempt(train, attempt)
    else:
      retain, forget = self._of_wanted(train, (attempt, split))
    return Split(np.concatenate([retain, forget]), retain, forget, self.val, held_out)

  def searched(self, split: int, attempt: int) -> Split:
    """Return the same for a search, which compares with validation samples.

    Those of the request are like the forgotten ones: only chance put them outside the pool.
    """
    found = self.split(split, attempt)
    return found if self.wanted is None else validation_control.among(found, self.wanted)

  def _of_wanted(self, train: np.ndarray, seeds: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return what remains of a half without `size` wanted samples, and these."""
    assert self.wanted is not None
    forget = np.random.default_rng((*seeds, STREAM)).permutation(train[self.wanted[train]])
    forget = forget[: self.size]
    return train[~np.isin(train, forget)], forget


def shadow_study(
  num_train: int,
  *,
  splits: int = SPLITS,
  attempts: int = ATTEMPTS,
  pool: int | None = None,
  seed: int = 123,
) -> ShadowStudy:
  """Draw the pool of a U-LiRA study from the first `num_train` samples (spec evaluation 9.1).

  The defaults are the reference's protocol on CIFAR-10: 64 random halves of 47,500 samples, 10
  forget draws from each. A smaller profile takes fewer splits and attempts, and the first `pool`
  samples of the pool, which is in random order.

  Raises:
    DataError: too few samples, splits or attempts.
  """
  if splits < 2 or attempts < 1:
    raise DataError(
      f"a U-LiRA study has {splits} splits and {attempts} attempts; expected at least 2 and 1: "
      "only models of other splits never saw a sample"
    )
  drawn, val = ulira_pool(num_train, seed=seed)
  size = len(drawn) if pool is None else pool
  if not 20 <= size <= len(drawn):
    raise DataError(
      f"the U-LiRA pool has {size} samples; expected 20..{len(drawn)}, of {num_train} training "
      "samples"
    )
  return ShadowStudy(drawn[:size], val, splits, attempts)


def of_request(study: ShadowStudy, facts: Facts, asked: ScenarioSettings, seed: int) -> ShadowStudy:
  """Return a study whose models forget what a rule finds in their halves; random: as it is.

  All forget sets have one size: of the fewest samples of the rule in a half, over the first 64
  splits or all, the share that is asked for. So a study that grows keeps its models.

  Args:
    seed: draws the groups, the same ones for all models.

  Raises:
    DataError: the data do not have what the rule needs.
  """
  if asked.forget == RANDOM:
    return study
  wanted = _wanted(facts, asked, seed)
  halves = (ulira_split(study.pool, split)[0] for split in range(max(study.splits, SPLITS)))
  least = min(int(wanted[train].sum()) for train in halves)
  return replace(study, wanted=wanted, size=math.ceil(asked.share * least))


def _wanted(facts: Facts, asked: ScenarioSettings, seed: int) -> np.ndarray:
  """Return of whom classes or groups are, bool [N]: whose samples models may forget."""
  requests.refuse_lacking(facts, asked)
  if asked.forget == CLASSES:
    return np.isin(facts.labels, requests.classes(asked.classes, facts.class_names))
  assert asked.forget == GROUPS and facts.groups is not None
  trained = np.unique(facts.groups[: facts.num_train])
  if asked.groups >= len(trained):
    raise requests.too_many_groups(asked.groups, "", len(trained))
  drawn = np.random.default_rng((seed, requests.STREAM)).permutation(trained)
  return np.isin(facts.groups, drawn[: asked.groups])


def _refuse_outside(name: str, value: int, count: int) -> None:
  if not 0 <= value < count:
    raise DataError(f"{name} {value} is not in this study; expected 0..{count - 1}")
