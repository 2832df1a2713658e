"""Methods beside each other: an interval for every metric, and for differences between methods."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxmu.audit import metrics
from jaxmu.audit.draws import Place, place
from jaxmu.audit.influence import Influence
from jaxmu.audit.intervals import Interval, two_way
from jaxmu.audit.metrics import METRICS

REFERENCE = "retrained"
COLUMNS = ("metric", "method", "other", "value", "low", "high")


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

  def __init__(
    self,
    retrained: Sequence[Mapping] = (),
    influences: Sequence[Influence] = (),
    groups: np.ndarray | None = None,
  ):
    """Begin with the rows and influences of the retrained models, if there are any.

    They are added like every other method, too, where their place is.

    Args:
      groups: of the samples, int [N], where groups were drawn and not samples (persons): intervals
        are then for other groups, as the samples of one are alike.
    """
    self._groups = groups
    self._references = {place(row): (row, moved) for row, moved in zip(retrained, influences)}
    self._intervals: list[dict] = []
    self._methods: dict[str, tuple[Sequence[Mapping], dict[Place, Influence]]] = {}

  def add(self, name: str, rows: Sequence[Mapping], influences: Sequence[Influence]) -> None:
    """Add a method: rows of `metrics.derive`, influences of `evaluation.measure`."""
    members = self._with_derived(rows, influences)
    for metric in sorted({metric for moved in members.values() for metric in moved}):
      found = two_way(
        *_stack(rows, members, metric),
        fitting=METRICS[metric].fitting,
        chance=METRICS[metric].chance,
      )
      row = {"method": name, "metric": metric} | _possible(metric, found)._asdict()
      self._intervals.append(row)
    wanted = lambda moved: {k: moved[k] for k in metrics.paired(True) if k in moved}
    self._methods[name] = rows, {at: wanted(moved) for at, moved in members.items()}

  def tables(self) -> Tables:
    """Return intervals over seeds and samples, of every method and of paired differences."""
    paired = []
    for (name, one), (other, two) in combinations(self._methods.items(), 2):
      for metric in metrics.paired(REFERENCE in (name, other)):
        found = _difference(*one, *two, metric)
        paired.append({"metric": metric, "method": name, "other": other} | found._asdict())
    return Tables(self._intervals, paired)

  def _with_derived(self, rows, influences) -> dict[Place, Influence]:
    """Return the influences of every finite member, derived metrics included."""
    found = {}
    for row, moved in zip(rows, influences):
      if not row["finite"]:
        continue
      reference, other = self._references.get(place(row), ({}, {}))
      derived = metrics.influences(moved, row, other, reference)
      found[place(row)] = {k: self._by_group(v) for k, v in (moved | derived).items() if k in row}
    return found

  def _by_group(self, influence: np.ndarray) -> np.ndarray:
    """Add up the influences of the samples of a group, [N] to [groups]."""
    if self._groups is None:
      return influence
    return np.bincount(self._groups, influence).astype(np.float32)


def tables(
  rows: Mapping[str, Sequence[Mapping]], influences: Mapping[str, Sequence[Influence]]
) -> Tables:
  """Compare methods whose rows and influences are all at hand; see `Comparison`."""
  compared = Comparison(rows.get(REFERENCE, ()), influences.get(REFERENCE, ()))
  for name in rows:
    compared.add(name, rows[name], influences[name])
  return compared.tables()


def _possible(metric: str, found: Interval) -> Interval:
  """Cut an interval at what the metric can be, from 0."""
  return Interval(found.value, *np.clip(found[1:], 0.0, METRICS[metric].most).tolist())


def _stack(rows, members: Mapping[Place, Influence], metric: str) -> tuple[np.ndarray, np.ndarray]:
  """Return values [K] and influences [K, N] of the seeds that have the metric."""
  kept = [row for row in rows if metric in members.get(place(row), ())]
  return _by_seed([(row["seed"], row[metric], members[place(row)][metric]) for row in kept])


def _by_seed(found: Sequence[tuple[int, float, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
  """Average values and influences over the forget sets of a seed.

  They share its original model, so only seeds are evidence that is independent.
  """
  seeds: dict[int, list[tuple[float, np.ndarray]]] = {}
  for seed, value, moved in found:
    seeds.setdefault(seed, []).append((value, moved))
  values = [sum(value for value, _ in own) / len(own) for own in seeds.values()]
  each = [
    own[0][1] if len(own) == 1 else np.mean([influence for _, influence in own], axis=0)
    for own in seeds.values()
  ]
  return np.array(values, float), np.stack(each)


def _difference(one, one_moved, other, other_moved, metric: str) -> Interval:
  """Return the mean difference over the seeds that are finite in both, with its interval."""
  known = {place(row): row for row in other if metric in other_moved.get(place(row), ())}
  pairs = [
    (place(row), row[metric] - known[place(row)][metric])
    for row in one
    if place(row) in known and metric in one_moved.get(place(row), ())
  ]
  if not pairs:
    return Interval(np.nan, np.nan, np.nan)
  moved = lambda at: one_moved[at][metric] - other_moved[at][metric]
  values, influences = _by_seed([(at.seed, gap, moved(at)) for at, gap in pairs])
  return two_way(values, influences, fitting=METRICS[metric].fitting)
