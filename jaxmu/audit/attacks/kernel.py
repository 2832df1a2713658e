"""Kernel densities per sample in place of Gaussians, as RULI has them.

Shapes: M models, N samples, n samples of a block, K models of one side, G groups left out together.
"""

from numbers import Real

import numpy as np

from jaxmu.audit.attacks.fits import (
  FLOOR,
  at_rows,
  blocks,
  check_shapes,
  group_numbers,
  leave_out_fits,
  read_finite,
  to_float32,
  without,
)
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER
from jaxmu.audit.attacks.ulira import fit_rows
from jaxmu.errors import DataError

RULES = {"scott": 1.0, "silverman": 0.75}  # what n is multiplied by before the power -1/5


def kernel_ratios(
  phi: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  bandwidth: float | str = 1.0,
  leave_out: str = "split",
  paired: bool = False,
) -> np.ndarray:
  """Return the log-ratio of kernel densities, positive over negative models, float32 [M, N].

  The likelihoods of RULI (Naderloui et al. 2025, arXiv 2506.13009, and its public code), whose
  score `p_u / (p_u + p_out)` is the logistic function of this ratio. The public code attacks models
  outside its shadow models and cuts both sides to the same number; here every model is attacked
  without its split, and all others enter. NaN where a model has neither role, or a side is empty
  without the models that are left out (by rule: has fewer than two).

  Args:
    phi: logit-scaled confidences, [M, N]; possibly memory-mapped.
    roles, splits, positive, negative, leave_out, paired: as in `ulira`.
    bandwidth: the SD of the Gaussian kernels, in units of phi (RULI: 1), or a rule that makes it a
      multiple of the SD of the n models that enter: "scott" n^(-1/5), "silverman" (3n/4)^(-1/5).

  Raises:
    DataError: shapes do not fit or are empty, or a score is not finite.
  """
  number = isinstance(bandwidth, Real) and FLOOR <= bandwidth < np.inf
  if not number and bandwidth not in RULES:
    raise ValueError(
      f"bandwidth must be a number of at least {FLOOR} or one of {tuple(RULES)}, got {bandwidth!r}"
    )
  check_shapes(phi, roles, phi)
  if phi.ndim != 2:
    raise DataError(f"phi is {phi.shape}; expected [M, N], one query at a time")
  groups = group_numbers(splits, leave_out, len(roles))
  ratios = np.empty(roles.shape, np.float32)
  for part in blocks(roles.shape):
    masks = [roles[:, part] == side for side in (positive, negative)]
    attacked = masks[0] | masks[1]
    values = read_finite(phi, part, attacked)
    rows = fit_rows(masks, groups, paired)
    logs = [_log_density(values, *side, groups, bandwidth) for side in zip(masks, rows)]
    ratios[:, part] = to_float32(np.where(attacked, logs[0] - logs[1], np.nan))
  return ratios


def _log_density(
  values: np.ndarray,
  mask: np.ndarray,
  rows: np.ndarray | None,
  groups: np.ndarray | None,
  bandwidth: float | str,
) -> np.ndarray:
  """Return the log kernel density of each model's value among the models of a side, [M, n].

  Some attacked models at a time, so that [models, K, n] stays as small as a block.
  """
  count = at_rows(without(mask.astype(float), groups), rows)
  width = _width(values, mask, rows, groups, bandwidth)
  width, count = (np.broadcast_to(x, values.shape) for x in (width, count))
  first = np.argsort(~mask, axis=0, kind="stable")[: max(1, mask.sum(0).max())]
  centres, used = (np.take_along_axis(x, first, 0) for x in (values, mask))
  member = None if groups is None else groups[first]
  result = np.empty(values.shape)
  for some in blocks((first.size, len(values))):
    enters = used
    if groups is not None:
      left = rows[some, None] if rows.ndim == 1 else rows[some]
      enters = used & (member != left[:, None])
    z = (values[some, None] - centres) / width[some, None]
    result[some] = _log_sum(np.where(enters, -0.5 * z * z, -np.inf))
  with np.errstate(divide="ignore", invalid="ignore"):
    return np.where(count > 0, result - np.log(count) - np.log(width), np.nan)


def _log_sum(exponents: np.ndarray) -> np.ndarray:
  """Return `log sum exp` over the second axis, -inf where nothing enters."""
  top = exponents.max(1, keepdims=True)
  top = np.where(np.isfinite(top), top, 0)
  with np.errstate(divide="ignore"):
    return np.log(np.exp(exponents - top).sum(1)) + top[:, 0]


def _width(
  values: np.ndarray,
  mask: np.ndarray,
  rows: np.ndarray | None,
  groups: np.ndarray | None,
  bandwidth: float | str,
) -> np.ndarray | float:
  """Return the SD of the kernels, one number or [M, n]."""
  if bandwidth not in RULES:
    return float(bandwidth)
  fitted = leave_out_fits(values, mask, groups)
  with np.errstate(divide="ignore", invalid="ignore"):
    scale = fitted.scale * (RULES[bandwidth] * fitted.count) ** -0.2
  return at_rows(np.maximum(scale, FLOOR), rows)
