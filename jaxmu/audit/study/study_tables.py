"""The tables of a study: every question to every stage, from scores, roles and splits alone.

M models in S splits, N samples.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxmu.audit import further_questions as further
from jaxmu.audit import questions
from jaxmu.audit.attacks.crossed import Interval
from jaxmu.audit.attacks.population_scores import roc_band, roc_points
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, role_counts
from jaxmu.audit.attacks.worst import Confirmed
from jaxmu.audit.questions import Answer, Attacker, Case

Exposures = dict[tuple[str, str, str], Interval]  # by method, question, statistic


class Tables(NamedTuple):
  """What a study says.

  Attributes:
    exposures: statistics with intervals by (method, question, statistic).
    samples: by method a column [N] by name: accuracy, n_forgotten, n_never, score_forgotten,
      score_never, confirmed (accuracy of the half of the splits that did not choose the sample; NaN
      where neither chose it) and exposed (0 for the sample that stands out most; -1 likewise).
    roc: by method points (FPR, TPR) and bounds of the latter over splits, [n, 4].
  """

  exposures: Exposures
  samples: dict[str, dict[str, np.ndarray]]
  roc: dict[str, np.ndarray]

  def exposure_rows(self) -> list[dict]:
    """Return rows of exposure.parquet."""
    keys = ("method", "question", "statistic")
    return [dict(zip(keys, key)) | one._asdict() for key, one in self.exposures.items()]

  def roc_rows(self) -> list[dict]:
    """Return rows of roc.parquet."""
    return [
      {"method": name} | dict(zip(("fpr", "tpr", "low", "high"), point))
      for name, points in self.roc.items()
      for point in points.tolist()
    ]


def tables(
  cases: Mapping[str, Case],
  attacker: Attacker,
  once: Case | None = None,
  progress=lambda name: None,
  asked: np.ndarray | None = None,
) -> Tables:
  """Ask every question of every stage.

  Args:
    cases: by method, models in one order: the k-th ones have the same split and forget set.
      "retrained" and "original" are the references, as far as there are any.
    once: the original models, each of them once, where `cases` repeats those that are shared.
    progress: called with the name of each stage before it is attacked.
    asked: the samples that may be forgotten, columns of the cases; None: all. Who forgot is asked
      of these alone, as no model forgets another sample.
  """
  found, samples, rocs = {}, {}, {}
  original, retrained = cases.get("original"), cases.get("retrained")
  before = None if original is None else questions.retained(original, attacker, None)
  first = original if once is None else once
  sorted_by = None if first is None else further.groups(first.columns(asked))
  original, retrained = (None if c is None else c.columns(asked) for c in (original, retrained))
  for name, case in cases.items():
    progress(name)
    own = case.columns(asked)
    forgot = questions.forgotten(own, attacker, retrained)
    kept = before if name == "original" else questions.retained(case, attacker, before)
    answers = {"forgotten": forgot.table, "retained": kept.table}
    if case.alive.any():
      answers["model"] = questions.model(case)
    if name == "original":
      answers["trained"] = questions.trained(case if once is None else once, attacker).table
    if forgot.exposure is not None:
      _merge(answers, _further(name, own, forgot, attacker, original, retrained, sorted_by))
    found |= {(name, q, s): value for q, table in answers.items() for s, value in table.items()}
    samples[name] = _samples(case, forgot, asked)
    rocs[name] = _roc(forgot.scores, own)
  return Tables(found, samples, rocs)


def describe(case: Case, attacker: Attacker) -> dict:
  """Describe roles and attack of a study in plain numbers and words."""
  counts = role_counts(case.roles)
  spread = lambda values: {"mean": values.mean(), "min": values.min(), "max": values.max()}
  return {
    "attack": {
      "variance": attacker.of_few,
      "fit": attacker.fit,
      "paired": attacker.paired,
      "leave_out": "split",
    },
    "forgotten_per_sample": spread(counts["forgotten"]),
    "never_per_sample": spread(counts["never seen"]),
  }


def _further(name, case, forgot: Answer, attacker, original, retrained, sorted_by) -> dict:
  """Ask what needs no other training: other attackers, changes, strata, a bound."""
  answers = {"forgotten": further.other_attackers(case, attacker)}
  answers["forgotten"] |= further.epsilon(forgot.scores, case)
  if original is not None and name != "original":
    answers["update"] = further.update_leakage(case, original, attacker)
  if sorted_by is not None:
    _merge(answers, further.privacy_game(case, sorted_by, attacker))
  if retrained is not None and name != "retrained":
    _merge(answers, further.efficacy_game(case, retrained, sorted_by))
  return answers


def _merge(answers: dict, more: Mapping) -> None:
  for question, table in more.items():
    answers[question] = answers.get(question, {}) | table


def _samples(case: Case, forgot: Answer, asked: np.ndarray | None) -> dict[str, np.ndarray]:
  """Return columns about every sample, [N] each."""
  size = case.phi.shape[1]
  places = np.arange(size) if asked is None else asked
  accuracy = np.full(size, np.nan)
  if forgot.exposure is not None:
    accuracy = np.full(size, np.nan, forgot.exposure.accuracy.dtype)
    accuracy[places] = forgot.exposure.accuracy
  columns = {"accuracy": accuracy}
  means = {}
  for key, role in (("forgotten", FORGOTTEN), ("never", NEVER)):
    mask = case.roles == role
    columns[f"n_{key}"] = count = mask.sum(0)
    total = np.where(mask, case.phi, 0).sum(0, dtype=float)
    means[f"score_{key}"] = np.divide(total, count, np.full(size, np.nan), where=count > 0)
  return columns | means | _confirmed(forgot.worst, size, places)


def _confirmed(worst: Confirmed | None, size: int, places: np.ndarray) -> dict[str, np.ndarray]:
  confirmed, order = np.full(size, np.nan), np.full(size, -1)
  if worst is not None:
    confirmed[places[worst.samples]] = worst.accuracy
    order[places[worst.samples]] = np.arange(len(worst.samples))
  return {"confirmed": confirmed, "exposed": order}


def _roc(scores: np.ndarray, case: Case) -> np.ndarray:
  """Return points of the pooled curve; a sample's non-members weigh as much as its members."""
  known, roles = ~np.isnan(scores), case.roles
  members, others = known & (roles == FORGOTTEN), known & (roles == NEVER)
  n, m = members.sum(0), others.sum(0)
  both = (n > 0) & (m > 0)
  if not both.any():
    return np.zeros((0, 4))
  worth = np.broadcast_to(n / np.maximum(m, 1), scores.shape)
  members, others = members & both, others & both
  groups = np.broadcast_to(np.asarray(case.splits)[:, None], scores.shape)
  points = roc_points(scores[members], scores[others], worth[others])
  sides = [(scores[side], groups[side]) for side in (members, others)]
  return np.concatenate([points, roc_band(*sides, worth[others], points)], 1)
