"""The forgetting quality of the NeurIPS'23 unlearning challenge, and the ceiling that noise sets.

Every forget sample has K scores from unlearned and K from retrained models. The easier it is to
tell them apart by a simple rule, the larger its epsilon and the fewer points it earns.
"""

import numpy as np

from jaxmu.audit.attacks.fits import read_finite
from jaxmu.errors import DataError

DELTA = 1e-5
CAP = 50.0  # of epsilon
BIN = 0.5  # width of an epsilon bin; each halves the points
BUFFER = 2.0  # how far an interval rule may stray from the narrower distribution
GRID = 100  # of the reference: cut points per unit of score
_SPAN = 1e5  # of scores that are cut by the grid: ten million points
_CHUNK = 1 << 20  # rules at a time


def forgetting_quality(
  unlearned: np.ndarray, retrained: np.ndarray, *, rules: str = "all", compat_grid: bool = False
) -> float:
  """Return F, the mean points of the forget samples, in [0, 1] (spec evaluation 10).

  Arguments as in `epsilons`. F of a perfect method is far below 1, since epsilon is the best of
  many rules on the same scores; always report it beside `quality_ceiling`.
  """
  found = epsilons(unlearned, retrained, rules=rules, compat_grid=compat_grid)
  return float(points(found, len(unlearned)).mean())


def quality_ceiling(retrained: np.ndarray, *, draws: int = 1, seed: int = 0, **options) -> float:
  """Return F between random halves of the retrained models [K, N], averaged over `draws`.

  About 0.18 with all rules and 0.35 with thresholds alone for Gaussian scores (spec evaluation 10).
  """
  if draws < 1:
    raise ValueError(f"draws must be at least 1, got {draws}")
  rng = np.random.default_rng(seed)
  half = len(retrained) // 2
  found = []
  for _ in range(draws):
    order = rng.permutation(len(retrained))
    found.append(
      forgetting_quality(retrained[order[:half]], retrained[order[half : 2 * half]], **options)
    )
  return float(np.mean(found))


def challenge_score(quality: float, unlearned: tuple, retrained: tuple) -> float:
  """Return `F * RA_U / RA_R * TA_U / TA_R` from pairs (RA, TA) of mean accuracies."""
  return float(quality * unlearned[0] / retrained[0] * unlearned[1] / retrained[1])


def points(epsilon: np.ndarray, models: int) -> np.ndarray:
  """Return `2^-floor(epsilon / 0.5)` for epsilon below `ceil(log(models - 1))`, else 0."""
  earned = 2.0 ** -np.floor(np.asarray(epsilon) / BIN)
  return np.where(epsilon < np.ceil(np.log(models - 1)), earned, 0.0)


def epsilons(
  unlearned: np.ndarray, retrained: np.ndarray, *, rules: str = "all", compat_grid: bool = False
) -> np.ndarray:
  """Return the largest epsilon at which a rule tells the models apart, [N] in [0, 50].

  A rule with error rates FPR and FNR shows `max(log(1 - 1e-5 - FPR) - log FNR, log(1 - 1e-5 - FNR)
  - log FPR)` (Triantafillou et al. 2024, arXiv 2406.09073, and the organisers' code; spec
  evaluation 10, steps 1 to 5). Rules: thresholds ("high scores are those of the larger median") and
  intervals near the narrower distribution. One without errors counts 50, one with errors on one
  side only is discarded; 50 too where one range is below a hundredth of the other's.

  Args:
    unlearned: logit-scaled confidences, [K, N]; K at least 32 for a meaningful result.
    retrained: likewise [K, N].
    rules: "all", or "thresholds" alone, which is less biased.
    compat_grid: try the reference's grid of cut points instead of all distinct ones. Its 100 points
      per unit of score cannot see scales below 0.01: for 64 models and Gaussian scores of SD 0.02
      they give F = 0.24, which looks like better forgetting, where all cuts give 0.08.

  Raises:
    DataError: shapes differ, K < 3, no samples, a score is not finite, or scores too far apart for
      the grid.
  """
  if rules not in ("all", "thresholds"):
    raise ValueError(f"rules must be 'all' or 'thresholds', got {rules!r}")
  if unlearned.ndim != 2 or unlearned.shape != retrained.shape or len(unlearned) < 3:
    raise DataError(
      f"unlearned {unlearned.shape} and retrained {retrained.shape} scores cannot be compared; "
      "expected the same [K, N] with K at least 3"
    )
  if not unlearned.size:
    raise DataError(f"scores {unlearned.shape} are empty; expected at least one sample")
  u, r = (np.sort(read_finite(side, slice(None)).T, 1) for side in (unlearned, retrained))  # [N, K]
  if compat_grid:
    _refuse_wide(u, r)
  table = _epsilon_table(len(unlearned))
  best = _best_of_grid if compat_grid else _best_of_cuts
  higher = np.median(r, 1) > np.median(u, 1)
  found = best(*_ordered(r, u, higher), table, interval=False)
  width_u, width_r = np.ptp(u, 1), np.ptp(r, 1)
  if rules == "all":
    found = np.maximum(found, best(*_ordered(r, u, width_r < width_u), table, interval=True))
  narrow, wide = np.minimum(width_u, width_r), np.maximum(width_u, width_r)
  found[narrow < 0.01 * wide] = CAP
  return np.clip(found, 0, CAP)


def _refuse_wide(u: np.ndarray, r: np.ndarray) -> None:
  span = (np.maximum(u[:, -1], r[:, -1]) - np.minimum(u[:, 0], r[:, 0])).max()
  if span > _SPAN:
    raise DataError(
      f"scores of one sample are {span:.3g} apart, too far for {GRID} cut points per unit; "
      f"expected at most {_SPAN:.0e}, or use compat_grid=False"
    )


def _ordered(r: np.ndarray, u: np.ndarray, r_first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return (positive, negative) scores, [N, K] each: r is positive where `r_first`."""
  first = r_first[:, None]
  return np.where(first, r, u), np.where(first, u, r)


def _epsilon_table(models: int) -> np.ndarray:
  """Return epsilon by the numbers of false positives and false negatives, [K + 1, K + 1]."""
  rate = np.arange(models + 1) / models
  fpr, fnr = rate[:, None], rate
  with np.errstate(divide="ignore", invalid="ignore"):
    sides = np.log(1 - DELTA - fpr) - np.log(fnr), np.log(1 - DELTA - fnr) - np.log(fpr)
    table = np.fmax(0, np.fmax(*sides))
  table[(fpr == 0) != (fnr == 0)] = 0  # too few models to say
  table[0, 0] = CAP
  return table


def _best_of_cuts(positive, negative, table, *, interval: bool) -> np.ndarray:
  """Return the best epsilon over all distinct rules, [N], some samples at a time.

  A rule says "positive" from the i-th to before the j-th of the merged sorted scores; thresholds
  have j at the end.
  """
  models = positive.shape[1]
  first, last = np.triu_indices(2 * models + 1, 1) if interval else (np.arange(2 * models), None)
  if last is None:
    last = np.full_like(first, 2 * models)
  result = np.empty(len(positive))
  size = max(1, _CHUNK // len(first))
  for start in range(0, len(positive), size):
    p, n = positive[start : start + size], negative[start : start + size]
    merged = np.concatenate([p, n], 1)
    order = merged.argsort(1, kind="stable")
    is_positive = np.pad((order < models).cumsum(1), ((0, 0), (1, 0)))
    cuts = np.pad(np.take_along_axis(merged, order, 1), ((0, 0), (1, 1)), constant_values=np.inf)
    cuts[:, 0] = -np.inf  # cut c lies between cuts[c] and cuts[c + 1]
    hits = is_positive[:, last] - is_positive[:, first]
    value = table[last - first - hits, models - hits]
    distinct = cuts[:, 1:] > cuts[:, :-1]
    allowed = distinct[:, first] & distinct[:, last]
    if interval:
      allowed &= _near(cuts, first, last, p)
    result[start : start + size] = np.where(allowed, value, 0).max(1)
  return result


def _near(cuts, first, last, positive) -> np.ndarray:
  """Tell which interval rules have a right end within 2 of the maximum and a width within 2."""
  top = positive.max(1, keepdims=True)
  width = np.ptp(positive, axis=1, keepdims=True)
  right_low = np.maximum(cuts[:, last], top - BUFFER)
  right_high = np.minimum(cuts[:, last + 1], top + BUFFER)
  fits = (right_low <= right_high) & (right_low - cuts[:, first + 1] <= width + BUFFER)
  return fits & (right_high - cuts[:, first] >= width - BUFFER)


def _best_of_grid(positive, negative, table, *, interval: bool) -> np.ndarray:
  """Return the best epsilon over the reference's grid of rules, [N]."""
  result = np.empty(len(positive))
  for sample, (p, n) in enumerate(zip(positive, negative)):
    left, right = _interval_grid(p) if interval else _threshold_grid(np.concatenate([p, n]))
    false_positives, hits = (
      np.maximum(np.searchsorted(x, right, "right") - np.searchsorted(x, left), 0) for x in (n, p)
    )
    result[sample] = table[false_positives, len(p) - hits].max()
  return result


def _threshold_grid(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  count = max(1, int(np.ceil(np.ptp(scores) * GRID)))
  return np.linspace(scores.min(), scores.max(), count), np.array([np.inf])


def _interval_grid(positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return left and right ends, [400, 400] and [400, 1]."""
  count, width = int(2 * BUFFER * GRID), np.ptp(positive)
  top = positive.max()
  right = np.linspace(top - BUFFER, top + BUFFER, count)[:, None]
  return right - width + np.linspace(-BUFFER, BUFFER, count), right
