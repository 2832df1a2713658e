"""U-LiRA: per sample, do models that forgot it score it unlike models that never saw it?

Shapes: Q queries (augmented views), M models, N samples, n samples of a block, G groups of models
that are left out together. Scores come from `scores`, roles from `roles.role_matrix`; `exposure`
turns the result into rates, intervals and exposed samples.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from jaxmu.audit.attacks.fits import (
  FITS,
  FLOOR,
  Fit,
  as_queries,
  at_rows,
  blocks,
  check_shapes,
  group_numbers,
  leave_out_fits,
  log_density,
  read_finite,
  to_float32,
)
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER

VARIANCES = ("sample", "fixed", "scaled")
_BISECTIONS = 60  # of a logarithm


def ulira(
  phi: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  leave_out: str = "split",
  fit: str = "normal",
  variance: str = "sample",
  paired: bool = False,
) -> np.ndarray:
  """Return the log-likelihood ratio of "forgotten" against "never seen", float32 [M, N].

  For each sample, Gaussians are fitted to the scores of the positive and of the negative models,
  without the attacked one: `log N(phi; mu_F, sd_F) - log N(phi; mu_N, sd_N)` (Hayes et al. 2024,
  arXiv 2403.01218; spec evaluation 9.6). Above 0 the attacker says "forgotten"; its probability is
  the logistic function. NaN where a model has neither role, or a side is too small for a fit.

  Several queries are fitted each for itself and their ratios averaged, as the public code of LiRA
  does: views of one sample hardly tell more than one, and a sum would count them as independent.

  Args:
    phi: logit-scaled confidences, [M, N] or [Q, M, N]; best float32, possibly memory-mapped.
    roles: int8 [M, N].
    splits: the split of each model, [M].
    positive, negative: the roles to tell apart; (RETAINED, NEVER) asks for retain-side risk.
    leave_out: what a fit omits: "split", all models of the attacked one's split, which share their
      training half; "model", it alone; "nothing", which finds signal in pure noise (0.543).
    fit: "normal" (mean, SD with ddof 1), "robust" (median, 1.4826 MAD) or "median" (median, SD).
    variance: "sample", an SD for each sample and side; "fixed", one SD per side for all samples,
      from the mean variance within samples; "scaled", each sample's SD among its negative models,
      times one ratio for all samples on the positive side, and `1 + 1/n` on both variances for the
      noise of means of n models. Below 16 positive models per sample the first is noise; the second
      loses the tail where samples differ in SD. An addition to the specification.
    paired: let both sides lose a split (a model) for every attacked model: its own, or where a side
      has no models of that, the split of a partner among them, in rotation. Plain leave-one-out
      fits the attacked side to fewer models, which moves noise off one half where few are positive.
      Another addition.

  Raises:
    DataError: shapes do not fit or are empty, or a score is not finite.
  """
  for name, value, known in (("fit", fit, FITS), ("variance", variance, VARIANCES)):
    if value not in known:
      raise ValueError(f"{name} must be one of {known}, got {value!r}")
  check_shapes(phi, roles, phi)
  groups = group_numbers(splits, leave_out, len(roles))
  sides, queries = (positive, negative), as_queries(phi)
  common = _common_scales(queries, roles, sides, fit, variance)
  ratios = np.empty(roles.shape, np.float32)
  for part in blocks(roles.shape):
    masks = [roles[:, part] == side for side in sides]
    attacked = masks[0] | masks[1]
    rows = fit_rows(masks, groups, paired)
    total = 0.0
    for views in queries:
      values = read_finite(views, part, attacked)
      fits = [leave_out_fits(values, mask, groups, fit) for mask in masks]
      scales = _scaled(fits, rows, common[0]) if variance == "scaled" else common
      logs = [log_density(values, *side) for side in zip(fits, rows, scales)]
      total = total + logs[0] - logs[1]
    ratios[:, part] = to_float32(np.where(attacked, total / len(queries), np.nan))
  return ratios


def fit_rows(
  masks: list[np.ndarray], groups: np.ndarray | None, paired: bool
) -> list[np.ndarray | None]:
  """Return, for each of two sides, the group that its fit omits for each model: [M] or [M, n].

  Args:
    masks: the models of the sides, bool [M, n] each.
    groups: the group of each model, [M]; None omits nothing.
    paired: False omits the model's own group. True makes both sides lose one: a side that has no
      model of that group loses the group of a partner.
  """
  if groups is None or not paired:
    return [groups, groups]
  rows = []
  for side, other in (masks, masks[::-1]):
    alone = other & ~_present(side, groups)[groups]
    rows.append(np.where(alone, _partners(alone, side, groups), groups[:, None]))
  return rows


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

  Raises:
    DataError: shapes do not fit or are empty.
  """
  check_shapes(correct, roles, correct)
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


def _present(side: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Tell whether a group has models of a side, bool [G, n]."""
  held = np.zeros((groups.max() + 1, side.shape[1]), bool)
  for group, row in zip(groups, side):
    held[group] |= row
  return held


def _partners(alone: np.ndarray, side: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Return the group of each model's partner: the i-th `alone` gets the (i mod n)-th of `side`."""
  turn = np.maximum(alone.cumsum(0) - 1, 0) % np.maximum(side.sum(0), 1)
  first = np.argsort(~side, axis=0, kind="stable")
  return groups[np.take_along_axis(first, turn, 0)]


def _common_scales(
  queries: np.ndarray, roles: np.ndarray, sides: tuple[int, int], fit: str, variance: str
) -> tuple[float | None, float | None]:
  """Return what all samples share: an SD per side ("fixed"), or the ratio of SDs twice ("scaled").

  Both weigh squared scales with their degrees of freedom; None for "sample".
  """
  if variance == "sample":
    return None, None
  tables = [[] for _ in sides]
  for part in blocks(roles.shape):
    masks = [roles[:, part] == side for side in sides]
    for views in queries:
      values = read_finite(views, part, masks[0] | masks[1])
      for mask, table in zip(masks, tables):
        fitted = leave_out_fits(values, mask, None, fit)
        table.append(np.stack([fitted.count[0] - 1, fitted.scale[0] ** 2]))
  freedom, square = np.stack([np.concatenate(table, 1) for table in tables], 1)
  if variance == "scaled":
    ratio = np.sqrt(_variance_ratio(freedom, square))
    return ratio, ratio
  usable = freedom > 0
  total = np.where(usable, freedom, 0).sum(1)
  pooled = np.where(usable, freedom * square, 0).sum(1) / np.maximum(total, 1)
  return tuple(np.where(total > 0, np.sqrt(pooled), np.nan))


def _variance_ratio(freedom: np.ndarray, square: np.ndarray) -> float:
  """Return the one ratio of variances that fits all samples best; freedom and squares [2, N].

  The maximum-likelihood ratio r: of a sample's sum of squares f v / r + g w, the share f v / r is
  expected to be f / (f + g). Shares are bounded, so no sample counts for more than its degrees of
  freedom; a mean of ratios would follow the smallest w, a ratio of means the largest v.
  """
  usable = (freedom > 0).all(0)
  varied = usable & (square[1] > FLOOR**2)
  usable = varied if varied.any() else usable
  if not usable.any():
    return np.nan
  freedom, logs = freedom[:, usable], np.log(square[:, usable])
  offset = np.log(freedom[0] / freedom[1]) + logs[0] - logs[1]
  low, high = (logs[0] - logs[1]).min(), (logs[0] - logs[1]).max()
  for _ in range(_BISECTIONS):
    middle = (low + high) / 2
    if (freedom.sum(0) * expit(offset - middle)).sum() > freedom[0].sum():
      low = middle
    else:
      high = middle
  return float(np.exp(middle))


def _scaled(
  fits: list[Fit], rows: list[np.ndarray | None], ratio: float
) -> tuple[np.ndarray, np.ndarray]:
  """Return predictive SDs: the negative models' own times `ratio`, and their own, [M, n] each."""
  own = at_rows(fits[1].scale, rows[1])
  with np.errstate(divide="ignore"):
    widen = [np.sqrt(1 + 1 / at_rows(fitted.count, row)) for fitted, row in zip(fits, rows)]
  return np.maximum(ratio * own, FLOOR) * widen[0], own * widen[1]
