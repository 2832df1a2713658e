"""What a study asks of every stage: who forgot, who retained, against models that never saw.

M models, N samples. All answers are tables: statistic -> value with its interval over splits.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxmu.audit import statistics
from jaxmu.audit.attacks.changes import exposure_change
from jaxmu.audit.attacks.crossed import Interval
from jaxmu.audit.attacks.exposure import Exposure, exposure
from jaxmu.audit.attacks.klom import FLOOR_MODELS, PERCENTILE, klom
from jaxmu.audit.attacks.population_mia import MINIMUM, population_mia
from jaxmu.audit.attacks.rmia import FLOOR, rmia
from jaxmu.audit.attacks.roles import EXCLUDED, FORGOTTEN, NEVER, RETAINED, trained_roles
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.audit.attacks.worst import Confirmed, confirmed_worst

FEW = 16  # forgetting models per sample below which variances are pooled (spec evaluation 9.6)
FEW_SPLITS = 32  # splits in which a sample is forgotten, below which `paired` is worth its noise
Table = dict[str, Interval]
_FORGET = {"positive": FORGOTTEN, "negative": NEVER}
_RETAIN = {"positive": RETAINED, "negative": NEVER}


class Attacker(NamedTuple):
  """How Gaussians are fitted in a study; `variance` as in the settings."""

  fit: str
  variance: str
  few: bool
  paired: bool

  @property
  def of_few(self) -> str:
    """The variance where forgetting models are asked for, of which there may be few."""
    return ("scaled" if self.few else "sample") if self.variance == "auto" else self.variance

  @property
  def of_many(self) -> str:
    """The variance where retaining models are asked for, of which there are always many."""
    return "sample" if self.variance == "auto" else self.variance

  def ratios(self, case: "Case", sides: dict[str, int], variance: str) -> np.ndarray:
    """Return the log-likelihood ratios of a case, float32 [M, N]."""
    options = {"fit": self.fit, "variance": variance, "paired": self.paired}
    return ulira(case.phi, case.roles, case.splits, **options, **sides)


class Case(NamedTuple):
  """A stage as attacks see it: scores, correctness and roles [M, N], splits [M]."""

  phi: np.ndarray
  correct: np.ndarray
  roles: np.ndarray
  splits: np.ndarray

  def rows(self, chosen: Any) -> "Case":
    """Return the case of some models only."""
    return Case(*(array[chosen] for array in self))

  def columns(self, chosen: np.ndarray | None) -> "Case":
    """Return the case of some samples only; None: of all."""
    if chosen is None:
      return self
    return Case(*(array[:, chosen] for array in self[:3]), self.splits)

  @property
  def alive(self) -> np.ndarray:
    """Models that are not left out because they diverged, bool [M]."""
    return ~(self.roles == EXCLUDED).all(1)


class Answer(NamedTuple):
  """The table of a question with what it was read from; None where too few models were there.

  `worst` are the most exposed samples, where the question looks for them.
  """

  table: Table
  scores: np.ndarray
  exposure: Exposure | None
  worst: Confirmed | None = None


def choose(fit: str, variance: str, roles: np.ndarray, splits: np.ndarray) -> Attacker:
  """Return the attacker for a study of these roles [M, N] and splits [M]."""
  forgotten = roles == FORGOTTEN
  groups = np.stack([forgotten[splits == s].any(0) for s in np.unique(splits)])
  few = bool(forgotten.sum(0).mean() < FEW)
  return Attacker(fit, variance, few, bool(groups.sum(0).mean() < FEW_SPLITS))


def forgotten(case: Case, attacker: Attacker, retrained: Case | None) -> Answer:
  """Ask whether a model trained on a sample and forgot it, or never saw it.

  Args:
    retrained: the retrained models of the same forget sets, for KLOM.
  """
  answer = _ask(case, attacker, _FORGET, attacker.of_few)
  if answer.exposure is None:
    return answer
  alive = case.rows(case.alive)
  worst = confirmed_worst(alive.phi, alive.roles, alive.splits)
  more = {
    "confirmed_worst": worst.interval,
    "rmia_auc": _rmia(alive),
    "population": _population(alive),
  }
  if retrained is not None:
    more["klom_q95"] = Interval(_klom(case, retrained), np.nan, np.nan)
  return answer._replace(table=answer.table | more, worst=worst)


def retained(case: Case, attacker: Attacker, original: Answer | None) -> Answer:
  """Ask whether a model retained a sample or never saw it, and what unlearning changed in that.

  Args:
    original: the answer for the original models; None for themselves.
  """
  answer = _ask(case, attacker, _RETAIN, attacker.of_many)
  if None in (original, answer.exposure) or original.exposure is None:
    return answer
  change = exposure_change(original.exposure.tally, answer.exposure.tally)[1]
  return answer._replace(table=answer.table | {f"change_{k}": v for k, v in change.items()})


def trained(case: Case, attacker: Attacker) -> Answer:
  """Ask the plain membership question of original models: trained on a sample or not."""
  plain = case._replace(roles=trained_roles(case.roles))
  return _ask(plain, attacker, _RETAIN, attacker.of_many)


def model(case: Case) -> Table:
  """Return accuracies by role: means over models."""
  table = {}
  for name, role in (("retained", RETAINED), ("forgotten", FORGOTTEN), ("never", NEVER)):
    mask = (case.roles == role)[case.alive]
    right, count = (case.correct[case.alive] & mask).sum(1), mask.sum(1)
    if not count.all():
      continue
    each = right / count
    table[f"accuracy_{name}"] = _over_splits(each, case.splits[case.alive])
  return table


def _ask(case: Case, attacker: Attacker, sides: dict[str, int], variance: str) -> Answer:
  scores = attacker.ratios(case, sides, variance)
  known = np.isfinite(scores)
  both = [(known & (case.roles == role)).any(0) for role in sides.values()]
  if not (both[0] & both[1]).any():
    return Answer({}, scores, None)
  found = exposure(scores, case.roles, case.splits, **sides)
  return Answer(found.statistics, scores, found)


def _population(case: Case) -> Interval:
  """Attack each model with one threshold on the loss for all its samples."""
  found = []
  for phi, roles in zip(case.phi, case.roles):
    losses = [np.logaddexp(0, -phi[roles == role]) for role in (NEVER, FORGOTTEN)]  # -log sigmoid
    if min(map(len, losses)) < MINIMUM:
      return Interval(np.nan, np.nan, np.nan)
    found.append(population_mia(*losses).accuracy)
  return _over_splits(np.array(found), case.splits)


def _klom(case: Case, retrained: Case) -> float:
  """Return the 95th percentile of KLOM over samples that enough models forgot; else NaN.

  A sample's first forgetting models are compared with as many other retrained ones, so the
  retrained models' own value is the noise of this measure.
  """
  mask = (case.roles == FORGOTTEN) & (retrained.roles == FORGOTTEN)
  half = int(np.quantile(mask.sum(0), 0.1)) // 2
  if half < FLOOR_MODELS:
    return np.nan
  enough = mask.sum(0) >= 2 * half
  order = np.argsort(~mask[:, enough], axis=0, kind="stable")
  first, second = (
    np.take_along_axis(phi[:, enough], order[part], 0)
    for phi, part in (
      (case.phi, slice(0, half)),
      (retrained.phi, slice(half, 2 * half)),
    )
  )
  return float(np.percentile(klom(first, second), PERCENTILE))


def _rmia(case: Case) -> Interval:
  """Return the area under the ROC curve of RMIA, each model referred to those of other splits."""
  asked = (case.roles == FORGOTTEN) | (case.roles == NEVER)
  with np.errstate(over="ignore"):
    confidence = 1 / (1 + np.exp(-np.asarray(case.phi, np.float64)))
  left_out = case.roles == EXCLUDED  # may hold anything
  scores = rmia(np.maximum(np.where(left_out, 0.5, confidence), FLOOR), splits=case.splits)
  middle = float(np.median(scores[asked]))  # of shares, which need not lie about one half
  found = exposure(scores, case.roles, case.splits, threshold=middle)
  return found.statistics["auc"]


def _over_splits(values: np.ndarray, splits: np.ndarray) -> Interval:
  """Return the mean of values [M] over splits with the interval of that mean."""
  found = statistics.describe(np.array([values[splits == s].mean() for s in np.unique(splits)]))
  return Interval(found["mean"], found["seeds_low"], found["seeds_high"])
