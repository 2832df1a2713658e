"""What is measured on one population's logits: every metric that reads them, a row per member."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmu.audit import metrics
from jaxmu.audit.evidence import Evidence, Population
from jaxmu.audit.influence import Influence
from jaxmu.audit.metric import COST, LOGITS, Metric

SVC_LIMIT = 250  # samples a side: an SVC's time grows with their square, hundreds of models wait


class Measured(NamedTuple):
  """One row of metrics per member, and how much each sample moves them: [N] by metric, per member.

  Members without finite metrics have no influences.
  """

  rows: list[dict]
  influences: list[Influence]


def measure(
  logits: np.ndarray,
  labels: np.ndarray,
  original_labels: np.ndarray,
  split: Any,
  *,
  method: str,
  seeds: Sequence[int],
  failed_steps: Sequence[str] | None = None,
  passes: float = np.nan,
  compat: bool = False,
  svc_limit: int = SVC_LIMIT,
) -> Measured:
  """Measure every member, in the order of `seeds`.

  Args:
    logits: eval-mode logits of un-augmented samples, [K, N, C]; may be memory-mapped.
    labels: [N], as trained on.
    original_labels: [N]; TA_clean counts the test samples whose label was kept.
    split: index arrays `retain`, `forget`, `val`, `test`; what needs an empty one is NaN, and
      without validation samples the strongest attack is chosen among test samples.
    failed_steps: per member where training turned non-finite; "" if it did not.
    passes: equivalent sample-passes that one member cost.
    compat: run the paper's attacks exactly as the reference does (spec evaluation 3).
    svc_limit: most samples a side that the SVC of `SVC_MIA` is fitted on; 0 leaves it out.

  A member that failed, or has a logit that means nothing, gets finite=False and NaN metrics. Minus
  infinity for a wrong class is legal.

  Raises:
    DataError: a label is no class, or a set is too small to be attacked.
  """
  failures = failed_steps or [""] * len(seeds)
  if not len(logits) == len(seeds) == len(failures):
    raise ValueError(f"{len(logits)} members, {len(seeds)} seeds, {len(failures)} failures")
  options = {"passes": passes, "svc_limit": svc_limit, "compat": compat}
  population = Population(logits, labels, original_labels, split, failures=failures, **options)
  rows, influences = [], []
  for k, seed in enumerate(seeds):
    member = population.member(k)
    known = {"finite": member.finite, "failed_steps": failures[k]}
    rows.append({"method": method, "seed": int(seed)} | known | _values(member))
    influences.append(_influences(member) if member.finite else {})
  return Measured(rows, influences)


def _values(member: Evidence) -> dict[str, Any]:
  """Return the columns that logits and cost give: numbers, then words, then cost."""
  wanted = metrics.reading(LOGITS, COST)
  wanted.sort(key=lambda metric: (metric.reads == COST, metric.word))
  return {metric.name: _value(metric, member) for metric in wanted}


def _value(metric: Metric, member: Evidence) -> float | str:
  if metric.reads == LOGITS and not (member.finite and _applies(metric, member)):
    return metric.none
  return metric.of(member) if metric.word else float(metric.of(member))


def _influences(member: Evidence) -> Influence:
  wanted = [metric for metric in metrics.reading(LOGITS) if _applies(metric, member)]
  return {metric.name: metric.influence(member) for metric in wanted if metric.influence}


def _applies(metric: Metric, member: Evidence) -> bool:
  return all(len(member.sets[name]) for name in metric.needs)
