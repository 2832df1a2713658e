"""Samples that two sets share, told by logits: an image has the same ones wherever it lies."""

from itertools import combinations

import numpy as np

from jaxmu.data.overlap import Shared
from jaxmu.evaluation.inputs import Given

# Of the spread of the logits. The same image in another batch differs by round-off, about 1e-6;
# that two images come so near in all logits of all models is out of the question.
TOLERANCE = 1e-5
COLUMNS = 64  # classes of each model that are looked at, or nearly twice as many
DISTINCT = 0.5  # of a set's samples must differ from each other: else logits identify nothing


def shared(given: Given) -> list[Shared]:
  """Return what every two sets of the first seed share: the label, and logits of all models.

  Nothing is found where models give many samples the same logits, as one that ignores its input.
  """
  some = slice(None, None, max(1, given.classes // COLUMNS))
  rows = np.concatenate([array[0][:, some] for array in given.logits.values()], 1)
  rows = np.where(np.isfinite(rows), rows, -1e9).astype(float)
  reach = TOLERANCE * float(np.median(rows.std(0)))
  sets, found = given.of_seed(0), []
  if not reach or any(_repeats(rows[index], reach) for index in sets.values()):
    return []
  direction = np.random.default_rng(0).normal(size=rows.shape[1])
  line = rows @ direction
  width = reach * float(np.abs(direction).sum())
  for one, other in combinations(sets, 2):
    small, large = sorted((one, other), key=lambda name: len(sets[name]))
    pairs = _pairs(rows, line, given.labels, (sets[small], sets[large]), (reach, width))
    if pairs:
      here, there = pairs[0]
      found.append(Shared(one, other, len(pairs), small, len(sets[small]), here, large, there))
  return found


def _pairs(rows, line, labels, sides, limits) -> list[tuple[int, int]]:
  """Return places (in the small set, in the large one) of the same samples.

  Only rows that are near each other on one line are compared.
  """
  (small, large), (reach, width) = sides, limits
  order = np.argsort(line[large])
  ordered = line[large][order]
  low, high = (np.searchsorted(ordered, line[small] + sign * width) for sign in (-1, 1))
  found = []
  for here in np.flatnonzero(high > low):
    near = large[order[low[here] : high[here]]]
    own = small[here]
    same = (np.abs(rows[near] - rows[own]) <= reach).all(1) & (labels[near] == labels[own])
    if same.any():
      found.append((int(here), int(order[low[here] + same.argmax()])))
  return found


def _repeats(rows: np.ndarray, reach: float) -> bool:
  """Tell whether a set's own samples have too few different logits."""
  return len(np.unique(np.round(rows / reach), axis=0)) < DISTINCT * len(rows)
