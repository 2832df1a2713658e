"""Which methods are alike in one cell, and how often over several (spec evaluation 8).

A cell is one data set with one network. The grouping is this project's own; the paper's thresholds
are not known.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.cluster import hierarchy

FAILED = "F"
GROUPS = ("G1", "G2", "G3")
NAMES = (*GROUPS, FAILED)
COLLAPSED = 0.5  # of the retrained model's test accuracy: a method below has failed
LEVEL = 0.05


def failed(rows: pd.DataFrame, method: str) -> bool:
  """Tell whether a method has a seed that is not finite, or lost half of the test accuracy."""
  own = rows[rows["method"] == method]
  return not own["finite"].all() or not own["TR"].mean() >= COLLAPSED


def grouped(values: Mapping[str, float]) -> dict[str, str]:
  """Divide methods into three groups by one number, G1 the least: Ward's clusters.

  Fewer than three different values make fewer groups; NaN is a failure.
  """
  finite = {method: value for method, value in values.items() if np.isfinite(value)}
  found = {method: FAILED for method in values if method not in finite}
  numbers = np.array(list(finite.values()))
  if len(np.unique(numbers)) < 2:
    return found | dict.fromkeys(finite, GROUPS[0])
  tree = hierarchy.linkage(numbers[:, None], "ward")
  clusters = hierarchy.fcluster(tree, min(len(GROUPS), len(np.unique(numbers))), "maxclust")
  means = {int(c): numbers[clusters == c].mean() for c in np.unique(clusters)}
  order = {c: GROUPS[k] for k, c in enumerate(sorted(means, key=lambda c: means[c]))}
  return found | {method: order[int(c)] for method, c in zip(finite, clusters)}


def of_cell(rows: pd.DataFrame, metric: str, methods: Sequence[str]) -> dict[str, str]:
  """Return the group of every method in a cell: means over seeds of a metric that is best at 0.

  Args:
    rows: a row per method and seed, as `metrics.derive` makes them.
  """
  mean = lambda method: float(rows.loc[rows["method"] == method, metric].mean())
  return grouped({m: np.nan if failed(rows, m) else mean(m) for m in methods})


def counted(cells: Sequence[Mapping[str, str]]) -> dict[str, Counter[str]]:
  """Count, per method, how often it is in which group."""
  methods = dict.fromkeys(method for cell in cells for method in cell)
  return {m: Counter(cell[m] for cell in cells if m in cell) for m in methods}


def as_good_as_the_best(
  rows: pd.DataFrame, metric: str, methods: Sequence[str], level: float = LEVEL
) -> frozenset[str]:
  """Return the methods of a cell that no test tells from the best one.

  Wilcoxon's signed-rank test on the differences by seed, p values corrected after Holm. With fewer
  than six seeds it can tell nothing apart.
  """
  sound = [method for method in methods if not failed(rows, method)]
  if not sound:
    return frozenset()
  table = rows.pivot_table(index="seed", columns="method", values=metric)[sound].dropna()
  best = table.mean().idxmin()
  others = [method for method in sound if method != best]
  p = [_signed_rank(table[method] - table[best]) for method in others]
  return frozenset({best, *(m for m, value in zip(others, holm(p)) if value > level)})


def holm(p: Sequence[float]) -> list[float]:
  """Return p values corrected for their number (Holm 1979), in their order."""
  order = np.argsort(p)
  stepped = [min(1.0, p[k] * (len(p) - rank)) for rank, k in enumerate(order)]
  corrected = np.maximum.accumulate(stepped) if stepped else []
  found = dict(zip(order.tolist(), map(float, corrected)))
  return [found[k] for k in range(len(p))]


def _signed_rank(differences: pd.Series) -> float:
  values = differences[differences != 0]
  return float(stats.wilcoxon(values).pvalue) if len(values) else 1.0
