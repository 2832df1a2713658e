"""Strata of vulnerable and protected samples, chosen on one half of the splits for the other.

An attack is as strong as the samples it is asked about. RULI (Naderloui et al. 2025, arXiv
2506.13009) therefore attacks those apart that are most and least exposed before unlearning. Chosen
and measured by the same models, the most exposed of many noisy numbers would be high on noise.
"""

from collections.abc import Callable

import numpy as np

from jaxmu.audit.attacks.fits import blocks, check_shapes, read_finite
from jaxmu.audit.attacks.roles import NEVER, RETAINED
from jaxmu.errors import DataError

PROTECTED, MIDDLE, VULNERABLE = 0, 1, 2
SHARES = (0.5, 0.4, 0.1)  # of the samples, from the least to the most exposed


def half_of(splits: np.ndarray) -> np.ndarray:
  """Return to which half of the splits each model belongs, 0 or 1, int [M]: every other split."""
  return np.unique(splits, return_inverse=True)[1] % 2


def separation(
  phi: np.ndarray,
  roles: np.ndarray,
  *,
  positive: int = RETAINED,
  negative: int = NEVER,
) -> np.ndarray:
  """Return how far the two roles' scores lie apart per sample, `|t|` of Welch's test, [N].

  NaN where a role has fewer than two models.

  Args:
    phi: logit-scaled confidences, [M, N].
    roles: int8 [M, N].

  Raises:
    DataError: shapes do not fit or are empty, or a score is not finite.
  """
  check_shapes(phi, roles, phi)
  found = np.empty(phi.shape[1])
  for part in blocks(phi.shape):
    masks = [roles[:, part] == side for side in (positive, negative)]
    values = read_finite(phi, part, masks[0] | masks[1])
    means, errors = zip(*(_mean_and_error(values, mask) for mask in masks))
    with np.errstate(divide="ignore", invalid="ignore"):
      found[part] = np.abs(means[0] - means[1]) / np.sqrt(errors[0] + errors[1])
  return found


def strata(
  phi: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  shares: tuple[float, ...] = SHARES,
  positive: int = RETAINED,
  negative: int = NEVER,
) -> np.ndarray:
  """Sort samples by how exposed they are to models of one half of the splits, int8 [2, N].

  Row h holds the strata that the models of half h choose, for measurements with the other half:
  0 (PROTECTED), 1, 2 (VULNERABLE); -1 where a sample cannot be sorted.

  Args:
    phi, roles, splits: of the original models, before unlearning, [M, N], [M, N], [M]; their roles
      are those of `trained_roles`.
    shares: of the samples by stratum, the least exposed first; they add up to 1.

  Raises:
    DataError: fewer than two splits.
  """
  if not np.isclose(sum(shares), 1) or min(shares) < 0:
    raise ValueError(f"shares must be positive and add up to 1, got {shares}")
  halves = half_of(splits)
  if halves.max() == 0:
    raise DataError("strata need models of at least two splits: one half chooses, one measures")
  found = np.full((2, phi.shape[1]), -1, np.int8)
  edges = np.cumsum(shares)[:-1]
  for half in (0, 1):
    chosen = halves == half
    far = separation(phi[chosen], roles[chosen], positive=positive, negative=negative)
    known = np.flatnonzero(np.isfinite(far))
    place = (far[known].argsort(kind="stable").argsort() + 0.5) / max(1, len(known))
    found[half, known] = np.searchsorted(edges, place)
  return found


def restrict(scores: np.ndarray, splits: np.ndarray, sorted_by: np.ndarray, stratum: int):
  """Return the scores [M, N] of a stratum's samples, NaN elsewhere.

  A model is asked about the samples that the other half of the splits put into the stratum.

  Args:
    scores: of an attack, [M, N]; fitted within halves, see `within_halves`.
    sorted_by: of `strata`, [2, N].
  """
  return np.where((sorted_by == stratum)[1 - half_of(splits)], scores, np.nan)


def apart(
  scores: np.ndarray, roles: np.ndarray, splits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return scores and roles with a column for every sample in either half, [M, 2 N] each.

  A sample forgotten mostly in one half and never seen in both would be compared across halves,
  whose fits differ: pooled, noise is not at one half (.51 with two forget sets a split).
  """
  halves = half_of(splits)[:, None]
  stacked = np.concatenate([np.where(halves == h, scores, np.nan) for h in (0, 1)], 1)
  return stacked, np.tile(roles, 2)


def within_halves(
  attack: Callable[..., np.ndarray],
  phi: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  **options,
) -> np.ndarray:
  """Return the scores of an attack that is fitted within each half of the splits, [M, N].

  Args:
    attack: such as `ulira` or `kernel_ratios`, called as `attack(phi, roles, splits, **options)`.
  """
  halves = half_of(splits)
  scores = np.full(phi.shape, np.nan, np.float32)
  for half in np.unique(halves):
    own = halves == half
    scores[own] = attack(phi[own], roles[own], splits[own], **options)
  return scores


def _mean_and_error(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the mean of the masked values and its squared standard error, [n] each."""
  with np.errstate(divide="ignore", invalid="ignore"):
    n = mask.sum(0)
    mean = np.where(mask, values, 0).sum(0) / n
    square = np.where(mask, values - mean, 0) ** 2
    return mean, square.sum(0) / np.where(n > 1, n - 1, np.nan) / n
