"""LiRA: Gaussians per sample, fitted to models with it and to models without it.

Shapes: Q queries (augmented views of a sample), M models, N samples, T targets.
"""

import numpy as np

from jaxmu.audit.attacks.fits import (
  FLOOR,
  as_queries,
  blocks,
  check_shapes,
  group_numbers,
  leave_out_fits,
  log_density,
  read_finite,
  standardised,
  to_float32,
)

MODES = ("online", "offline", "two-sided")


def lira(
  shadow: np.ndarray,
  member: np.ndarray,
  target: np.ndarray | None = None,
  *,
  splits: np.ndarray | None = None,
  mode: str = "online",
  fixed_variance: bool = False,
) -> np.ndarray:
  """Return how much each score speaks for membership, float32 [T, N]; NaN where no fit is possible.

  Medians and SDs over the shadow models, per sample (Carlini et al. 2022, arXiv 2112.03570; spec
  evaluation 9.7). The public code takes SDs with ddof 0 and a floor of 1e-30; here ddof is 1 and
  the floor 1e-3. Several queries are fitted each for itself and their scores averaged, as the
  public code does (the paper's spherical Gaussian gives the sum: the same order).

  Args:
    shadow: logit-scaled confidences of the shadow models, [M, N] or [Q, M, N].
    member: whether a shadow model trained on the sample, bool [M, N].
    target: confidences of the attacked models, [T, N] or [Q, T, N]. None attacks every shadow model
      with those of the other splits; T is then M.
    splits: int [M], which shadow models are left out together; None: each alone.
    mode: "online" `log N(phi; in) - log N(phi; out)`; "offline" `(phi - median_out) / sd_out`,
      ordered like the paper's `1 - Pr[Z > phi]`; "two-sided" `-log N(phi; out)`, the
      public code's offline attack.
    fixed_variance: one SD over all samples, queries and members (offline: non-members), as the
      public code.

  Raises:
    DataError: shapes do not fit or are empty, or a score is not finite.
  """
  if mode not in MODES:
    raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
  # Shadow models that attack each other: a model's own score would pull its fit towards it, and
  # models of its split saw its very training half. So each is judged by fits without its group.
  leave_out, groups = target is None, None
  target = shadow if leave_out else target
  check_shapes(shadow, member, target)
  if leave_out:
    models = len(member)
    groups = group_numbers(np.arange(models) if splits is None else splits, "split", models)
  shadow, target = as_queries(shadow), as_queries(target)
  # One number for all: no group is left out of it, as one is few among so many scores.
  scale = _overall_scale(shadow, member, mode == "online") if fixed_variance else None
  scores = np.empty(target.shape[1:], np.float32)
  for part in blocks(member.shape):
    inside = np.asarray(member[:, part], bool)
    total = 0.0
    for views, attacked_views in zip(shadow, target):
      values = read_finite(views, part)
      attacked = values if leave_out else read_finite(attacked_views, part)
      total = total + _scores(values, inside, attacked, groups, mode, scale)
    # In float64 up to here: a log ratio is a small difference of what may be large numbers.
    scores[:, part] = to_float32(total / len(shadow))
  return scores


def _scores(
  values: np.ndarray,
  inside: np.ndarray,
  attacked: np.ndarray,
  groups: np.ndarray | None,
  mode: str,
  scale: float | None,
) -> np.ndarray:
  """Return the scores of one query and block, [T, n].

  Centres are medians, as in the public code: among few shadow models one outlier moves a mean.
  """
  out = leave_out_fits(values, ~inside, groups, "median")
  if mode == "offline":
    # 1 - Pr[Z > phi] rises with phi's distance from the centre in SDs; beyond eight of them it is 1
    # in floating point, while the distance still tells scores apart.
    return standardised(attacked, out, groups, scale)[0]
  # Unlike "offline", this alone calls a score suspicious on either side of the centre.
  score = -log_density(attacked, out, groups, scale)
  if mode == "online":
    into = leave_out_fits(values, inside, groups, "median")
    score += log_density(attacked, into, groups, scale)
  return score


def _overall_scale(shadow: np.ndarray, member: np.ndarray, inside: bool) -> float:
  """Return one SD over all queries, samples and models inside (or outside).

  With ddof 0, as the public code's. Scores are too many to be held in float64 at once, so blocks
  are merged one by one: two sets of n and m values whose means lie d apart have together the sum of
  squares S_n + S_m + d^2 n m / (n + m) about their common mean.
  """
  count, mean, square = 0, 0.0, 0.0
  for part in blocks(member.shape):
    mask = np.asarray(member[:, part], bool) == inside
    for views in shadow:
      chosen = read_finite(views, part)[mask]
      if not len(chosen):
        continue
      # Each about its own mean: from sums of plain squares a large offset would take all digits.
      step = chosen.mean() - mean
      square += np.square(chosen - chosen.mean()).sum()
      square += step**2 * count * len(chosen) / (count + len(chosen))
      count += len(chosen)
      mean += step * len(chosen) / count
  return float(np.sqrt(max(square / max(count, 1), FLOOR**2)))
