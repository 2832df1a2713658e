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


class Comparison:
  """Methods added one after another: intervals at once, differences in the end.

  Two methods that are attacked on the same samples share their luck, so a difference is surer than
  the two intervals beside each other tell. Of each method only the influences that differences
  need are kept: all of them would be gigabytes for large data sets.
  """

  def __init__(self, retrained: Sequence[Mapping] = (), influences: Sequence[Influence] = ()):
    """Begin with the rows and influences of the retrained models, if there are any.

    They are added like every other method, too, where their place is.
    """
    self._references = {row["seed"]: (row, moved) for row, moved in zip(retrained, influences)}
    self._intervals: list[dict] = []
    self._methods: dict[str, tuple[Sequence[Mapping], dict[int, Influence]]] = {}

  def add(self, name: str, rows: Sequence[Mapping], influences: Sequence[Influence]) -> None:
    """Add a method: rows of `metrics.derive`, influences of `evaluation.measure`."""
    members = self._with_derived(rows, influences)
    for metric in sorted({metric for moved in members.values() for metric in moved}):
      found = two_way(
        *_stack(rows, members, metric),
        fitting=FITTING.get(metric, EXACT),
        chance=CHANCE.get(metric, np.nan),
      )
      row = {"method": name, "metric": metric} | _possible(metric, found)._asdict()
      self._intervals.append(row)
    wanted = lambda moved: {k: moved[k] for k in AGAINST_RETRAINED if k in moved}
    self._methods[name] = rows, {seed: wanted(moved) for seed, moved in members.items()}

  def tables(self) -> Tables:
    """Return intervals over seeds and samples, of every method and of paired differences."""
    paired = []
    for (name, one), (other, two) in combinations(self._methods.items(), 2):
      for metric in AGAINST_RETRAINED if REFERENCE in (name, other) else PAIRED:
        found = _difference(*one, *two, metric)
        paired.append({"metric": metric, "method": name, "other": other} | found._asdict())
    return Tables(self._intervals, paired)

  def _with_derived(self, rows, influences) -> dict[int, Influence]:
    """Return the influences of every finite member by seed, derived metrics included."""
    found = {}
    for row, moved in zip(rows, influences):
      if not row["finite"]:
        continue
      reference, other = self._references.get(row["seed"], (None, None))
      derived = influence.derive(moved, row)
      if other:
        derived |= influence.compare(moved, row, other, reference)
      found[row["seed"]] = {k: v for k, v in (moved | derived).items() if k in row}
    return found


def tables(
  rows: Mapping[str, Sequence[Mapping]], influences: Mapping[str, Sequence[Influence]]
) -> Tables:
  """Compare methods whose rows and influences are all at hand; see `Comparison`."""
  compared = Comparison(rows.get(REFERENCE, ()), influences.get(REFERENCE, ()))
  for name in rows:
    compared.add(name, rows[name], influences[name])
  return compared.tables()


def _possible(metric: str, found: Interval) -> Interval:
  """Cut an interval at what the metric can be: ratios from 0, all others from 0 to 1."""
  top = np.inf if metric in ("RR", "FR", "TR", "RetDev") else 1.0
  return Interval(found.value, *np.clip(found[1:], 0.0, top).tolist())


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
