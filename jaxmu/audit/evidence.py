"""What metrics read of logits, each computed once and only if a metric asks for it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from jaxmu.audit.attacks.population_mia import SEED, MiaResult, population_mia_many
from jaxmu.audit.attacks.population_scores import population_scores
from jaxmu.audit.attacks.scores import cross_entropy, usable
from jaxmu.audit.attacks.strongest import Strongest, strongest

SETS = ("retain", "forget", "val", "test")
CLEAN = "test_clean"  # test samples whose label was kept
KEPT, GONE = "test_kept", "test_gone"  # test samples by whether their class is trained on
EVERY_ROUND, FIRST = "every_round", "first"  # forgotten up to this round, and in the first one
UNSEEN = "unseen"  # what attacks compare with the forget set: the control of a request, else test
# Validation samples that are exchangeable with the forget set: none where a request has a control.
LIKE_FORGET = "val_like_forget"


class Population:
  """K members that were trained on the same sets.

  Attributes:
    logits: [K, N, C]; may be memory-mapped.
    labels: int [N], as trained on.
    sets: index arrays by the names of `SETS`, `CLEAN`, `UNSEEN`, `LIKE_FORGET`; where classes were
      forgotten entirely `KEPT` and `GONE`, and where a request comes in rounds `EVERY_ROUND` and
      `FIRST`, which are empty else.
    failures: per member when its training turned non-finite, or "".
    passes: equivalent sample-passes that one member cost.
    svc_limit: most samples a side that an SVC is fitted on; 0 for no SVC.
  """

  def __init__(
    self,
    logits: np.ndarray,
    labels: np.ndarray,
    original_labels: np.ndarray,
    split: Any,
    *,
    failures: Sequence[str],
    passes: float,
    svc_limit: int,
    compat: bool = False,
  ):
    self.logits, self.labels, self.failures = logits, labels, failures
    self.passes, self.svc_limit, self.compat = passes, svc_limit, compat
    kept = split.test[labels[split.test] == original_labels[split.test]]
    control = getattr(split, "control", None)
    self.sets: Mapping[str, np.ndarray] = {n: getattr(split, n) for n in SETS} | {
      CLEAN: kept,
      **_by_class(labels, split, asked=control is not None),
      UNSEEN: split.test if control is None else control,
      LIKE_FORGET: split.val if control is None else split.val[:0],
      **_by_round(split),
    }

  @cached_property
  def losses(self) -> np.ndarray:
    """Cross-entropies, float64 [K, N]."""
    return cross_entropy(self.logits, self.labels)

  @cached_property
  def attacks(self) -> list[dict[str, MiaResult]]:
    """The population attack of every member on forget against unseen samples, by their set.

    Validation samples come first: under `compat` both attacks draw from one stream.
    """
    rng = np.random.RandomState(SEED) if self.compat else None
    found: list[dict[str, MiaResult]] = [{} for _ in self.logits]
    forget = self.losses[:, self.sets["forget"]]
    for name in (LIKE_FORGET, UNSEEN):
      if len(self.sets[name]):
        unseen = self.losses[:, self.sets[name]]
        results = population_mia_many(unseen, forget, compat=self.compat, rng=rng)
        for own, result in zip(found, results):
          own[name] = result
    return found

  @cached_property
  def first_attacked(self) -> list[MiaResult]:
    """The population attack of every member on what the first round forgot."""
    sides = (self.losses[:, self.sets[name]] for name in (UNSEEN, FIRST))
    return population_mia_many(*sides)

  def member(self, k: int) -> "Evidence":
    """Return what is known of the k-th member."""
    return Evidence(self, k)


def _by_class(labels: np.ndarray, split: Any, asked: bool) -> dict[str, np.ndarray]:
  """Divide the test part, where a request forgets all training samples of some classes.

  A random forget set may do so, too, where classes have a sample or two: that is no request.
  """
  gone = np.setdiff1d(labels[split.forget], labels[split.retain])
  if not asked or not len(gone) or not len(split.retain):
    return {KEPT: split.test[:0], GONE: split.test[:0]}
  of_gone = np.isin(labels[split.test], gone)
  return {KEPT: split.test[~of_gone], GONE: split.test[of_gone]}


def _by_round(split: Any) -> dict[str, np.ndarray]:
  """Return what was forgotten in all rounds up to this one, and in the first."""
  earlier, first = (getattr(split, name, None) for name in ("earlier", "first"))
  if earlier is None or first is None:
    return {EVERY_ROUND: split.forget[:0], FIRST: split.forget[:0]}
  return {EVERY_ROUND: np.concatenate([earlier, split.forget]), FIRST: first}


class Evidence:
  """One member of a population: its logits [N, C], and what is computed from them."""

  def __init__(self, population: Population, k: int):
    self.population, self.k = population, k
    self.labels, self.sets = population.labels, population.sets

  @property
  def size(self) -> int:
    """Samples of the data set."""
    return len(self.labels)

  @property
  def losses(self) -> np.ndarray:
    """Cross-entropies, float64 [N]."""
    return self.population.losses[self.k]

  @property
  def attacks(self) -> Mapping[str, MiaResult]:
    """The population attack by its set of unseen samples; empty sets have none."""
    return self.population.attacks[self.k]

  @property
  def first_attacked(self) -> MiaResult:
    """The population attack on what the first round forgot."""
    return self.population.first_attacked[self.k]

  @cached_property
  def logits(self) -> np.ndarray:
    """Logits in memory, [N, C]."""
    return np.asarray(self.population.logits[self.k])

  @cached_property
  def finite(self) -> bool:
    """Whether training went well and every logit means something."""
    sound = np.isfinite(self.losses).all() and usable(self.logits).all()
    return bool(sound and not self.population.failures[self.k])

  @cached_property
  def right(self) -> np.ndarray:
    """Whether the largest logit is the label, bool [N]."""
    return self.logits.argmax(-1) == self.labels

  @cached_property
  def scores(self) -> dict[str, np.ndarray]:
    """The scores of `population_scores`, float64 [N] by name."""
    found = population_scores(self.logits[None], self.labels)
    return {name: score[0] for name, score in found.items()}

  @cached_property
  def strongest(self) -> Strongest:
    """Every attack of `attacks.strongest`, and the one chosen on validation samples.

    Without validation samples like the forgotten ones it is chosen among the unseen ones.
    """
    scores = {name: score[None] for name, score in self.scores.items()}
    validation = self.sets[LIKE_FORGET] if len(self.sets[LIKE_FORGET]) else None
    sides = {"forget": self.sets["forget"], "unseen": self.sets[UNSEEN]}
    return strongest(scores, **sides, validation=validation)
