"""U-LiRA: per sample, do models that forgot it score it unlike models that never saw it?

Shapes: M models, N samples. Scores come from `scores.logit_scaled_confidence`, roles from
`roles.role_matrix`; `exposure` turns the result into rates, intervals and exposed samples.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from jaxmu.audit.attacks.lira import (
  blocks,
  check_shapes,
  leave_out_fits,
  log_density,
  read,
  refuse_non_finite,
)
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER
from jaxmu.errors import DataError

FITS = ("normal", "robust", "median")
LEAVE_OUT = ("split", "model", "nothing")


def ulira(
  phi: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  leave_out: str = "split",
  fit: str = "normal",
  fixed_variance: bool = False,
  paired: bool = False,
) -> np.ndarray:
  """Return the log-likelihood ratio of "forgotten" against "never seen", float32 [M, N].

  For each sample, Gaussians are fitted to the scores of the positive and of the negative models,
  without the attacked one: `log N(phi; mu_F, sd_F) - log N(phi; mu_N, sd_N)` (Hayes et al. 2024,
  arXiv 2403.01218; spec evaluation 9.6). Above 0 the attacker says "forgotten"; its probability is
  the logistic function. NaN where a model has neither role, or a side is too small for a fit.

  Args:
    phi: logit-scaled confidences, [M, N]; best float32, possibly memory-mapped.
    roles: int8 [M, N].
    splits: the split of each model, [M].
    positive, negative: the roles to tell apart; (RETAINED, NEVER) asks for retain-side risk.
    leave_out: what a fit omits: "split", all models of the attacked one's split, which share their
      training half; "model", it alone; "nothing", which finds signal in pure noise (0.543).
    fit: "normal" (mean, SD with ddof 1), "robust" (median, 1.4826 MAD) or "median" (median, SD).
    fixed_variance: one SD per side for all samples, from the mean variance within samples; better
      below 16 positive models per sample.
    paired: leave out a model (its split) of the other role too, in rotation. Plain leave-one-out
      fits the attacked side to one model less, which moves noise off one half where few models are
      positive; paired, both sides are treated alike. An addition to the specification.

  Raises:
    DataError: shapes do not fit, a score is not finite, or (paired) one split has both roles.
  """
  for name, value, known in (("fit", fit, FITS), ("leave_out", leave_out, LEAVE_OUT)):
    if value not in known:
      raise ValueError(f"{name} must be one of {known}, got {value!r}")
  check_shapes(phi, roles, phi)
  groups = _group_numbers(np.asarray(splits), leave_out, len(phi))
  sides = (positive, negative)
  scales = [_pooled_scale(phi, roles, side, fit) if fixed_variance else None for side in sides]
  ratios = np.empty(phi.shape, np.float32)
  for part in blocks(phi.shape):
    values = read(phi, part)
    masks = [roles[:, part] == side for side in sides]
    attacked = masks[0] | masks[1]
    refuse_non_finite(np.where(attacked, values, 0))
    rows = _paired_rows(masks, groups) if paired else (groups, groups)
    with np.errstate(invalid="ignore"):  # excluded models may hold anything
      logs = [
        log_density(values, leave_out_fits(values, mask, groups, fit), row, scale)
        for mask, row, scale in zip(masks, rows, scales)
      ]
      ratios[:, part] = np.where(attacked, logs[0] - logs[1], np.nan)
  return ratios


class Compat(NamedTuple):
  """Memberships as the reference lists them: N arrays, one entry per model that forgot the sample.

  `nan_fraction` is the share of all entries that are NaN.
  """

  memberships: list[np.ndarray]
  nan_fraction: float


def ulira_compat(correct: np.ndarray, roles: np.ndarray) -> Compat:
  """Return what the reference's U-LiRA script computes (spec evaluation 9.5).

  It looks at correctness only (bool [M, N]), leaves nothing out, takes population SDs, scores the
  forgotten models alone, and gives NaN wherever a side is constant. To compare with, not to use.
  """
  correct = np.asarray(correct, bool)
  outcome = np.array([[0.0], [1.0]])  # wrong, right
  density = []
  with np.errstate(invalid="ignore", divide="ignore"):
    for side in (FORGOTTEN, NEVER):
      mask = roles == side
      mean = (correct & mask).sum(0) / mask.sum(0)
      density.append(norm.pdf(outcome, mean, np.sqrt(mean * (1 - mean))))
    member = density[0] / (density[0] + density[1])  # [2, N]
  sample, model = np.nonzero((roles == FORGOTTEN).T)
  listed = member[correct[model, sample].astype(int), sample]
  ends = np.bincount(sample, minlength=roles.shape[1]).cumsum()
  share = float(np.isnan(listed).mean()) if len(listed) else np.nan
  return Compat(np.split(listed, ends[:-1]), share)


def _group_numbers(splits: np.ndarray, leave_out: str, models: int) -> np.ndarray | None:
  """Return the number of the group that each model is left out with, [M]; None for nothing."""
  if splits.shape != (models,):
    raise DataError(f"splits {splits.shape} must name the split of each of the {models} models")
  if leave_out == "nothing":
    return None
  return np.arange(models) if leave_out == "model" else np.unique(splits, return_inverse=True)[1]


def _pooled_scale(phi: np.ndarray, roles: np.ndarray, side: int, fit: str) -> float:
  """Return one SD for all samples: squared scales averaged with their degrees of freedom."""
  square, freedom = 0.0, 0.0
  for part in blocks(phi.shape):
    values, mask = read(phi, part), roles[:, part] == side
    refuse_non_finite(np.where(mask, values, 0))
    fitted = leave_out_fits(values, mask, None, fit)
    usable = fitted.count[0] > 1
    weight = fitted.count[0, usable] - 1
    square += (weight * fitted.scale[0, usable] ** 2).sum()
    freedom += weight.sum()
  return float(np.sqrt(square / freedom)) if freedom else np.nan


def _paired_rows(masks: list[np.ndarray], groups: np.ndarray | None) -> list[np.ndarray | None]:
  """Return, per side, the fit that each attacked model is scored with, [M, n].

  For its own side the one without its group; for the other side the one without its partner's.
  """
  if groups is None:
    return [None, None]
  _refuse_mixed(masks, groups)
  own = groups[:, None]
  return [
    np.where(side, own, _partners(other, side, groups)) for side, other in (masks, masks[::-1])
  ]


def _partners(attacked: np.ndarray, side: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Return the group of each attacked model's partner: the i-th gets the (i mod n)-th of `side`."""
  turn = np.maximum(attacked.cumsum(0) - 1, 0) % np.maximum(side.sum(0), 1)
  first = np.argsort(~side, axis=0, kind="stable")
  return groups[np.take_along_axis(first, turn, 0)]


def _refuse_mixed(masks: list[np.ndarray], groups: np.ndarray) -> None:
  holds = [np.zeros((groups.max() + 1, masks[0].shape[1]), bool) for _ in masks]
  for held, mask in zip(holds, masks):
    np.logical_or.at(held, groups, mask)
  if (holds[0] & holds[1]).any():
    raise DataError(
      "paired=True needs splits whose models do not hold both roles for a sample; use "
      "leave_out='model', or paired=False"
    )
