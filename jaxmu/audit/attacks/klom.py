"""KLOM: how far, per sample, scores of unlearned models are from those of retrained ones."""

from collections.abc import Mapping

import numpy as np

from jaxmu.audit.attacks.fits import blocks, read_finite
from jaxmu.errors import DataError

BINS, CLIP, FLOOR = 20, 100.0, 1e-5
FLOOR_MODELS = 64  # on a side; with fewer, same distributions are more than 1.2 nats apart at q95
PERCENTILE = 95


def klom(
  unlearned: np.ndarray, retrained: np.ndarray, bins: int = BINS, *, compat: bool = False
) -> np.ndarray:
  """Return `KL(unlearned || retrained)` between histograms of each sample's scores, [N], in nats.

  Scores are clipped to [-100, 100]; both histograms share `bins` equal bins over their common
  range; the retrained models' shares are at least 1e-5 where the unlearned ones' are positive
  (Georgiev et al. 2024, arXiv 2410.23232; spec extensions 11). Identical models give 0, disjoint
  ranges log(1e5) = 11.5. Two samples of one distribution do not give 0: read it beside two halves
  of the retrained models. Their 95th percentile over Gaussian samples is 8.8 nats for 8 models a
  side, 3.0 for 32, 1.2 for 64, 0.7 for 100 and 0.2 for 256: below `FLOOR_MODELS` it is noise.

  Args:
    unlearned: logit-scaled confidences, [K, N].
    retrained: likewise [R, N]; R may differ from K.
    bins: of both histograms.
    compat: as data-unlearning-bench, whose last bin does not hold its upper edge: the largest score
      of all belongs to no bin, and what is left is made to sum to one, as are the retrained shares
      after their floor. For 100 models a side 0.34 in place of 0.35 on average. NaN where all
      unlearned scores are the largest.

  Raises:
    DataError: shapes do not fit or are empty, or a score is not finite.
  """
  if bins < 1:
    raise ValueError(f"bins must be at least 1, got {bins}")
  if unlearned.ndim != 2 or retrained.ndim != 2 or unlearned.shape[1] != retrained.shape[1]:
    raise DataError(
      f"unlearned {unlearned.shape} and retrained {retrained.shape} scores cannot be compared; "
      "expected [K, N] and [R, N]"
    )
  if not unlearned.size or not retrained.size:
    raise DataError(
      f"unlearned {unlearned.shape} or retrained {retrained.shape} scores are empty; expected at "
      "least one model a side and one sample"
    )
  result = np.empty(unlearned.shape[1])
  for part in blocks((len(unlearned) + len(retrained), unlearned.shape[1])):
    sides = [np.clip(read_finite(side, part), -CLIP, CLIP) for side in (unlearned, retrained)]
    low = np.minimum(*(side.min(0) for side in sides))
    high = np.maximum(*(side.max(0) for side in sides))
    edges = np.linspace(low, np.where(high > low, high, low + 1), bins + 1)
    p, q = (_histogram(side, edges, open_end=compat) for side in sides)
    q = np.where(p > 0, np.maximum(q, FLOOR), q)
    result[part] = _entropy(p, q / q.sum(0) if compat else q)
  return result


def klom_percentiles(
  divergence: np.ndarray, sets: Mapping[str, np.ndarray], percentile: float = PERCENTILE
) -> dict[str, float]:
  """Return the percentile of KLOM [N] over each set of samples, index arrays by name.

  Raises:
    DataError: a set is empty.
  """
  for name, index in sets.items():
    if not len(index):
      raise DataError(f"set {name!r} holds no samples; leave it out")
  return {name: float(np.percentile(divergence[index], percentile)) for name, index in sets.items()}


def _histogram(values: np.ndarray, edges: np.ndarray, open_end: bool) -> np.ndarray:
  """Return the share of each column's values in its own bins, [bins, n], edges [bins + 1, n].

  Shares of those that are in a bin: with an open end, values at the last edge are in none.
  """
  below = [(values < edge).sum(0) for edge in (edges[1:] if open_end else edges[1:-1])]
  everything = np.full(values.shape[1], len(values))
  total = below[-1] if open_end else everything
  counts = np.diff([0 * everything, *below, *([] if open_end else [everything])], axis=0)
  return counts / np.maximum(total, 1)


def _entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """Return `sum p log(p / q)` over the first axis, [n]; NaN where p has no mass."""
  ratio = np.where(p > 0, p, 1) / np.where(p > 0, q, 1)
  return np.where(p.any(0), (p * np.log(ratio)).sum(0), np.nan)
