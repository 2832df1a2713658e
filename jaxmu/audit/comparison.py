"""Methods beside each other: an interval for every metric, and for differences between methods."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxmu.audit import influence
from jaxmu.audit.influence import Influence
from jaxmu.audit.intervals import EXACT, FITTING, Interval, two_way

REFERENCE = "retrained"
PAIRED = ("RetDev", "Indisc", "T_strongest")  # compared between all methods: marks and rankings
AGAINST_RETRAINED = (*PAIRED, "FA", "T_MIA", "T_AUC")
COLUMNS = ("metric", "method", "other", "value", "low", "high")
CHANCE = {"T_MIA": 0.5, "V_MIA": 0.5, "T_strongest": 0.5, "T_AUC": 0.5, "V_AUC": 0.5}


class Tables(NamedTuple):
  """Rows of `intervals` (method, metric, value, low, high) and of `differences`.

  A difference is `value` of `method` minus that of `other`, paired by seed and by sample.
  """

  intervals: list[dict]
  differences: list[dict]


def tables(
  rows: Mapping[str, Sequence[Mapping]], influences: Mapping[str, Sequence[Influence]]
) -> Tables:
  """Return intervals over seeds and samples, of every method and of paired differences.

  Two methods that are attacked on the same samples share their luck, so a difference is surer than
  the two intervals beside each other tell.

  Args:
    rows: of `metrics.derive`, by method and in the order of its members.
    influences: of `evaluation.measure`, likewise.
  """
  whole = {name: _with_derived(name, rows, influences) for name in rows}
  single = []
  for name, members in whole.items():
    for metric in sorted({metric for moved in members.values() for metric in moved}):
      found = two_way(
        *_stack(rows[name], members, metric),
        fitting=FITTING.get(metric, EXACT),
        chance=CHANCE.get(metric, np.nan),
      )
      single.append({"method": name, "metric": metric} | _possible(metric, found)._asdict())
  paired = []
  for name, other in combinations(whole, 2):
    for metric in AGAINST_RETRAINED if REFERENCE in (name, other) else PAIRED:
      found = _difference(rows[name], whole[name], rows[other], whole[other], metric)
      paired.append({"metric": metric, "method": name, "other": other} | found._asdict())
  return Tables(single, paired)


def _possible(metric: str, found: Interval) -> Interval:
  """Cut an interval at what the metric can be: ratios from 0, all others from 0 to 1."""
  top = np.inf if metric in ("RR", "FR", "TR", "RetDev") else 1.0
  return Interval(found.value, *np.clip(found[1:], 0.0, top).tolist())


def _with_derived(name, rows, influences) -> dict[int, Influence]:
  """Return the influences of every finite member by seed, derived metrics included."""
  references = {
    row["seed"]: (row, moved)
    for row, moved in zip(rows.get(REFERENCE, ()), influences.get(REFERENCE, ()))
  }
  found = {}
  for row, moved in zip(rows[name], influences[name]):
    if not row["finite"]:
      continue
    reference, other = references.get(row["seed"], (None, None))
    derived = influence.derive(moved, row)
    if other:
      derived |= influence.compare(moved, row, other, reference)
    found[row["seed"]] = {k: v for k, v in (moved | derived).items() if k in row}
  return found


def _stack(rows, members: Mapping[int, Influence], metric: str) -> tuple[np.ndarray, np.ndarray]:
  """Return values [K] and influences [K, N] of the members that have the metric."""
  kept = [row for row in rows if metric in members.get(row["seed"], ())]
  return (
    np.array([row[metric] for row in kept], float),
    np.stack([members[row["seed"]][metric] for row in kept]),
  )


def _difference(one, one_moved, other, other_moved, metric: str) -> Interval:
  """Return the mean difference over the seeds that are finite in both, with its interval."""
  known = {row["seed"]: row for row in other if metric in other_moved.get(row["seed"], ())}
  pairs = [
    (row, known[row["seed"]])
    for row in one
    if row["seed"] in known and metric in one_moved.get(row["seed"], ())
  ]
  if not pairs:
    return Interval(np.nan, np.nan, np.nan)
  values = np.array([a[metric] - b[metric] for a, b in pairs], float)
  moved = [one_moved[a["seed"]][metric] - other_moved[a["seed"]][metric] for a, _ in pairs]
  return two_way(values, np.stack(moved), fitting=FITTING.get(metric, EXACT))
