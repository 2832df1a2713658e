"""Label-only U-LiRA: an attacker who sees the predicted class alone, right or wrong.

Shapes: M models, N samples, n samples of a block, G groups of models left out together.
"""

import numpy as np

from jaxmu.audit.attacks.fits import at_rows, blocks, check_shapes, group_numbers, without
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER
from jaxmu.audit.attacks.ulira import fit_rows
from jaxmu.errors import DataError

PRIOR = (0.5, 0.5)  # of right and wrong guesses: Jeffreys'


def label_only(
  correct: np.ndarray,
  roles: np.ndarray,
  splits: np.ndarray,
  *,
  positive: int = FORGOTTEN,
  negative: int = NEVER,
  leave_out: str = "split",
  paired: bool = False,
  prior: tuple[float, float] = PRIOR,
) -> np.ndarray:
  """Return the log-likelihood ratio of "forgotten" from correctness alone, float32 [M, N].

  For each sample and side, k of n models guess right: the next one does with probability
  `(k + a) / (n + a + b)`, the mean of a Beta-binomial, and fails with the rest. The ratio of the
  two sides' logarithms is that of `ulira` without its Gaussians, whose SDs are 0 wherever all
  models agree (`ulira_compat`). One query is the weakest label-only attack (Choquette-Choo et al.
  2021, arXiv 2007.14321): it says nothing of a sample that both sides always get right.

  A ratio of exactly 0 is a tie. Who guesses "forgotten" above 0 gives it to the other side, so that
  with very few models the accuracy of noise can lie just off one half (0.492 against retained
  samples, 16 splits of 2 models, AUC 0.497) where half a point for ties would give 0.500.

  Args:
    correct: whether a model predicts the sample's class, bool [M, N].
    roles, splits, positive, negative, leave_out, paired: as in `ulira`.
    prior: a and b, as many right and wrong guesses are added.

  NaN where a model has neither role, or a side has no models at all.

  Raises:
    DataError: shapes do not fit or are empty, or `correct` is not bool.
  """
  if not min(prior) > 0 or not np.isfinite(prior).all():
    raise ValueError(f"prior must be two positive numbers, got {prior!r}")
  check_shapes(correct, roles, correct)
  if correct.ndim != 2 or correct.dtype != bool:
    raise DataError(
      f"correct is {correct.dtype} {correct.shape}; expected bool [M, N], right or wrong"
    )
  groups = group_numbers(splits, leave_out, len(roles))
  ratios = np.empty(roles.shape, np.float32)
  for part in blocks(roles.shape):
    right = np.asarray(correct[:, part])
    masks = [roles[:, part] == side for side in (positive, negative)]
    rows = fit_rows(masks, groups, paired)
    logs = [_log_probability(right, *side, groups, prior) for side in zip(masks, rows)]
    known = (masks[0] | masks[1]) & masks[0].any(0) & masks[1].any(0)
    ratios[:, part] = np.where(known, logs[0] - logs[1], np.nan)
  return ratios


def _log_probability(
  right: np.ndarray,
  mask: np.ndarray,
  rows: np.ndarray | None,
  groups: np.ndarray | None,
  prior: tuple[float, float],
) -> np.ndarray:
  """Return the log-probability of each model's outcome among the models of a side, [M, n]."""
  hits, count = (at_rows(without(x.astype(float), groups), rows) for x in (right & mask, mask))
  added, failed = prior
  likely = np.where(right, hits + added, count - hits + failed)
  return np.log(likely / (count + added + failed))
