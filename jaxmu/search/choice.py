"""What trials achieved, and which configuration a search ends with (spec evaluation 6.1, 6.4)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmu.audit.formulas import search_score

Hp = Mapping[str, Any]


class Trial(NamedTuple):
  """One configuration, run on one seed.

  Attributes:
    at: coordinates of its member: "seed" (or "split") and "trial", from 0; for a candidate that
      runs again "found", too, the seed whose search found it.
    hp: complete hyper-parameters.
    values: the four values of the objective, [4]; inf where the model failed.
    stopped: the epochs after which it was stopped with others left; 0: it ran to its end.
  """

  at: Mapping[str, int]
  hp: Hp
  values: np.ndarray
  stopped: int = 0

  @property
  def place(self) -> int:
    """The seed, or the split of shadow models, whose search it is of, or on which it runs again."""
    return next(iter(self.at.values()))

  @property
  def score(self) -> float:
    """S, the norm of the values; 0 is ideal."""
    return search_score(self.values)


def best(trials: Sequence[Trial], count: int = 1) -> list[Trial]:
  """Return the ended trials of least S, the earlier one of equals first; failed ones never."""
  return least([trial for trial in trials if not trial.stopped], count)


def least(trials: Sequence[Trial], count: int) -> list[Trial]:
  """Return the trials of least S, ended or not; failed ones never."""
  return sorted((t for t in trials if math.isfinite(t.score)), key=lambda t: t.score)[:count]


def candidates(trials: Sequence[Trial], count: int) -> list[Trial]:
  """Return the best trials of every seed's search, without configurations that repeat."""
  found: dict[str, Trial] = {}
  for place in sorted({trial.place for trial in trials}):
    for trial in best([t for t in trials if t.place == place], count):
      found.setdefault(repr(sorted(trial.hp.items())), trial)
  return list(found.values())


def reference(trials: Sequence[Trial]) -> Hp | None:
  """Return the configuration of least S in all searches; None where all trials failed."""
  return next((trial.hp for trial in best(trials)), None)


def robust(again: Sequence[Trial]) -> Hp | None:
  """Return the candidate of least mean S over seeds; None where each failed on one of them.

  A single trial of many that is best is so by luck, too: a mean over seeds has less of it.
  """
  scores: dict[tuple[int, int], list[Trial]] = {}
  for trial in again:
    scores.setdefault((trial.at["found"], trial.at["trial"]), []).append(trial)
  means = [(float(np.mean([t.score for t in own])), own[0].hp) for own in scores.values()]
  finite = [pair for pair in means if math.isfinite(pair[0])]
  return min(finite, key=lambda pair: pair[0])[1] if finite else None
