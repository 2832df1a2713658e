"""KLOM: how far, per sample, scores of unlearned models are from those of retrained ones."""

from collections.abc import Mapping

import numpy as np

from jaxmu.audit.attacks.lira import blocks, read, refuse_non_finite
from jaxmu.errors import DataError

BINS, CLIP, FLOOR = 20, 100.0, 1e-5
PERCENTILE = 95


def klom(unlearned: np.ndarray, retrained: np.ndarray, bins: int = BINS) -> np.ndarray:
  """Return `KL(unlearned || retrained)` between histograms of each sample's scores, [N], in nats.

  Scores are clipped to [-100, 100]; both histograms share `bins` equal bins over their common
  range; the retrained models' shares are at least 1e-5 where the unlearned ones' are positive
  (peer metric of spec extensions 11). Identical models give 0, disjoint ranges log(1e5) = 11.5.
  Two samples of one distribution do not give 0: read it beside two halves of the retrained models.
  The last bin holds its upper edge; peer code drops the largest score.

  Args:
    unlearned: logit-scaled confidences, [K, N].
    retrained: likewise [R, N]; R may differ from K.

  Raises:
    DataError: shapes do not fit, or a score is not finite.
  """
  if unlearned.ndim != 2 or unlearned.shape[1:] != retrained.shape[1:]:
    raise DataError(
      f"unlearned {unlearned.shape} and retrained {retrained.shape} scores cannot be compared; "
      "expected [K, N] and [R, N]"
    )
  result = np.empty(unlearned.shape[1])
  for part in blocks((len(unlearned) + len(retrained), unlearned.shape[1])):
    sides = [read(side, part) for side in (unlearned, retrained)]
    refuse_non_finite(*sides)
    sides = [np.clip(side, -CLIP, CLIP) for side in sides]
    low = np.minimum(*(side.min(0) for side in sides))
    high = np.maximum(*(side.max(0) for side in sides))
    edges = np.linspace(low, np.where(high > low, high, low + 1), bins + 1)
    p, q = (_histogram(side, edges) for side in sides)
    ratio = np.where(p > 0, p, 1) / np.where(p > 0, np.maximum(q, FLOOR), 1)
    result[part] = (p * np.log(ratio)).sum(0)
  return result


def klom_percentiles(
  divergence: np.ndarray, sets: Mapping[str, np.ndarray], percentile: float = PERCENTILE
) -> dict[str, float]:
  """Return the percentile of KLOM [N] over each set of samples, index arrays by name."""
  return {name: float(np.percentile(divergence[index], percentile)) for name, index in sets.items()}


def _histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
  """Return the share of each column's values in its own bins, [bins, n], edges [bins + 1, n]."""
  below = [(values < edge).sum(0) for edge in edges[1:-1]]
  everything = np.full(values.shape[1], len(values))
  return np.diff([0 * everything, *below, everything], axis=0) / len(values)
