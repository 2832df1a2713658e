"""What the numbers allow to conclude: which methods leak, and in which direction."""

import math
from typing import NamedTuple

from jaxmu.audit.attacks.exposure import ABOVE
from jaxmu.audit.results import StudyResults
from jaxmu.audit.study.study_statistics import ACCURACY, Statistic


class Direction(NamedTuple):
  """How scores of forgotten samples lie to those of the same samples never seen.

  `gap` is the mean difference of the logit-scaled confidences; `below` the share of the `exposed`
  samples (attacked above 0.6) whose forgotten score is the lower one. NaN where there is none.
  """

  gap: float
  exposed: int
  below: float


def direction(data: StudyResults, method: str) -> Direction:
  """Measure in which direction forgotten samples differ: still known, or pushed away."""
  table = data.attacked(method)
  gap = table["score_forgotten"] - table["score_never"]
  hit = (table["accuracy"] > ABOVE) & gap.notna()
  below = float((gap[hit] < 0).mean()) if hit.any() else math.nan
  return Direction(float(gap.mean()), int(hit.sum()), below)


def raised(data: StudyResults, method: str, statistic: Statistic = ACCURACY) -> bool:
  """Tell whether a method's interval lies above chance and above the retrained models' one."""
  cell = data.cell(method, statistic.name, statistic.question)
  reference = data.cell("retrained", statistic.name, statistic.question)
  bars = [bar for bar in (statistic.chance, reference.bounds[1]) if math.isfinite(bar)]
  known = statistic.exposes and method != "retrained" and cell.has_interval and bars
  return bool(known and cell.low > max(bars))


def unseen(data: StudyResults, method: str, statistic: Statistic) -> bool:
  """Tell whether a method's interval reaches chance or that of the retrained models."""
  cell = data.cell(method, statistic.name, statistic.question)
  reference = data.cell("retrained", statistic.name, statistic.question)
  floor = min(statistic.chance, reference.bounds[0]) if reference.n else statistic.chance
  return cell.has_interval and cell.high >= floor and not raised(data, method, statistic)


def has_signal(data: StudyResults) -> bool:
  """Tell whether the attack works at all: before unlearning it must find the samples."""
  return raised(data, "original")


def unbiased(data: StudyResults, statistic: Statistic = ACCURACY) -> bool:
  """Tell whether the retrained models' interval contains chance; True where there is none."""
  cell = data.cell("retrained", statistic.name, statistic.question)
  return not cell.has_interval or cell.low <= statistic.chance <= cell.high


def over_forgotten(data: StudyResults, method: str) -> bool:
  """Tell whether forgotten samples are recognised because their confidence is too low.

  Both on average and in most of the exposed samples: a few that are pushed very far do not make a
  method that remembers the others one that over-forgets.
  """
  found = direction(data, method)
  return raised(data, method) and found.gap < 0 and not found.below <= 0.5
