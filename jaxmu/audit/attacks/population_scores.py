"""Attacks with one threshold for all samples: simple scores of logits, and their ROC curves.

All scores are larger for "member". Beside `population_mia`, whose score is the loss.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats
from scipy.stats import rankdata

from jaxmu.audit.attacks.fits import blocks
from jaxmu.audit.attacks.population_mia import MiaResult, population_mia_many
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER
from jaxmu.audit.attacks.scores import check_labels, log_sum_exp, usable
from jaxmu.errors import DataError

SCORES = ("loss", "confidence", "margin", "entropy", "modified_entropy", "correctness")


def population_scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
  """Return the scores of `SCORES` by name, float64 [K, N] each (spec extensions 11).

  Minus the loss `-log p_y`; the confidence `p_y`; the margin `log p_y - log(1 - p_y)`, which ranks
  samples as the two before but never saturates; minus the entropy `-sum p log p`; minus the
  modified entropy `-(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c)` (Song & Mittal 2021, arXiv
  2003.10595, a wrong form with `log p_c` at the end is in circulation); and correctness, 0 or 1.

  Args:
    logits: [K, N, C], any float type, possibly memory-mapped; read one member at a time. Minus
      infinity for a wrong class says that the model excludes it.
    labels: int [N].

  Other non-finite logits give NaN, quietly.

  Raises:
    DataError: shapes do not fit, or a label is no class.
  """
  if logits.ndim != 3:
    raise DataError(f"logits {logits.shape} must be [K, N, C]: members, samples, classes")
  labels = check_labels(logits, labels)
  found = {name: np.empty(logits.shape[:2]) for name in SCORES}
  with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
    for member, values in enumerate(logits):
      for name, score in _scores(np.asarray(values, np.float64), labels).items():
        found[name][member] = score
  return found


def population_attacks(
  scores: Mapping[str, np.ndarray], unseen: np.ndarray, forget: np.ndarray, **options
) -> dict[str, list[MiaResult]]:
  """Run the population attack of `population_mia_many` on every score instead of the loss.

  Args:
    scores: [K, N] by name.
    unseen, forget: index arrays into N.
    options: of `population_mia_many`.
  """
  return {
    name: population_mia_many(-score[:, unseen], -score[:, forget], **options)
    for name, score in scores.items()
  }


def threshold_accuracy(members: np.ndarray, others: np.ndarray, seed: int = 0) -> float:
  """Return the balanced accuracy of the best single threshold, scores [n] and [m].

  The threshold is chosen on a random half and measured on the other one, both ways round (Yeom et
  al. 2018, arXiv 1709.01604, with a cross-fitted threshold): noise gives one half, not the best of
  many thresholds.
  """
  members, others = np.asarray(members), np.asarray(others)
  _refuse_nan(members, others)
  if min(len(members), len(others)) < 2:
    raise DataError(
      f"the threshold attack has {len(members)} members and {len(others)} others; expected at "
      "least 2 of each"
    )
  rng = np.random.default_rng(seed)
  halves = [np.array_split(rng.permutation(side), 2) for side in (members, others)]
  found = []
  for fitted in (0, 1):
    threshold = _best_threshold(*(side[fitted] for side in halves))
    member, other = (side[1 - fitted] for side in halves)
    found.append(((member > threshold).mean() + (other <= threshold).mean()) / 2)
  return float(np.mean(found))


def auc(members: np.ndarray, others: np.ndarray, weights: np.ndarray | None = None) -> float:
  """Return the chance that a member's score [n] exceeds another's [m]; ties count half.

  `weights` [m] are of the others, here and below.

  Raises:
    DataError: a side is empty, or a score is NaN, which no order can place.
  """
  _refuse_nan(members, others)
  return area(np.sort(members), *cumulative(others, weights))


def area(members: np.ndarray, ordered: np.ndarray, total: np.ndarray) -> float:
  """Return `auc` from ascending scores of members [n] and of others with `cumulative` weights."""
  below = [total[np.searchsorted(ordered, members, side)].mean() for side in ("left", "right")]
  return float((below[0] + below[1]) / 2 / total[-1])


def tpr_at_fpr(
  members: np.ndarray,
  others: np.ndarray,
  rates: Sequence[float],
  weights: np.ndarray | None = None,
) -> np.ndarray:
  """Return the largest true-positive rate whose false-positive rate is below each rate, [F].

  As in the public code of LiRA (spec evaluation 9.6): strictly below, no interpolation.
  """
  thresholds = thresholds_of(*cumulative(others, weights), np.asarray(rates))
  return np.array([(members > threshold).mean() for threshold in thresholds])


def roc_points(
  members: np.ndarray, others: np.ndarray, weights: np.ndarray | None = None, count: int = 200
) -> np.ndarray:
  """Return about `count` points (FPR, TPR) of the ROC curve, [<= count + 2, 2], both rising.

  False-positive rates are spaced evenly in the logarithm, from one false positive to all, as a plot
  with two logarithmic axes shows them.
  """
  ordered, total = cumulative(others, weights)
  thresholds = _roc_thresholds(ordered, total, count)
  fpr = 1 - total[np.searchsorted(ordered, thresholds, "right")] / total[-1]
  tpr = 1 - np.searchsorted(np.sort(members), thresholds, "right") / len(members)
  return np.unique(np.stack([fpr, tpr], 1), axis=0)


def roc_band(
  members: tuple[np.ndarray, np.ndarray],
  others: tuple[np.ndarray, np.ndarray],
  weights: np.ndarray,
  points: np.ndarray,
  level: float = 0.95,
) -> np.ndarray:
  """Return bounds of the true-positive rate at each point of a ROC curve, [n, 2], within [0, 1].

  Each group is left out once (jackknife), and the curve of the rest is read at the same
  false-positive rate; a t interval with one degree of freedom less than there are groups. NaN
  everywhere where fewer than two groups have members, or fewer than two have others.

  Args:
    members, others: scores and the group of each (splits of a study), as two arrays.
    weights: of the others.
    points: of `roc_points` for the same scores.
  """
  groups = np.union1d(members[1], others[1])
  if len(groups) < 2:
    return np.full((len(points), 2), np.nan)
  thresholds = _roc_thresholds(*cumulative(others[0], weights))
  above = lambda scores, worth: _above(scores, worth, thresholds)
  hits = np.stack([above(members[0][members[1] == g], None) for g in groups])
  alarms = np.stack([above(others[0][others[1] == g], weights[others[1] == g]) for g in groups])
  left_out = [counts.sum(0) - counts for counts in (hits, alarms)]
  if not all((rest[:, -1] > 0).all() for rest in left_out):  # one group has all of a side
    return np.full((len(points), 2), np.nan)
  rates = [rest / rest[:, -1:] for rest in left_out]
  at = [np.interp(points[:, 0], fpr, tpr) for tpr, fpr in zip(*rates)]
  spread = np.square(at - np.mean(at, 0)).sum(0) * (len(groups) - 1) / len(groups)
  reach = stats.t.ppf((1 + level) / 2, len(groups) - 1) * np.sqrt(spread)
  return np.clip(points[:, 1:] + np.stack([-reach, reach], 1), 0.0, 1.0)


def _roc_thresholds(ordered: np.ndarray, total: np.ndarray, count: int = 200) -> np.ndarray:
  """Return scores above which false positives are counted, falling; the last is below all."""
  rates = np.geomspace(1 / len(ordered), 1, count)
  found = np.append(thresholds_of(ordered, total, rates), [ordered[-1], -np.inf])
  return np.sort(found)[::-1]


def _above(scores: np.ndarray, weights: np.ndarray | None, thresholds: np.ndarray) -> np.ndarray:
  """Return the weight of the scores above each threshold, rising with falling thresholds."""
  ordered, total = cumulative(scores, weights)
  return total[-1] - total[np.searchsorted(ordered, thresholds, "right")]


def sample_auc(
  scores: np.ndarray, roles: np.ndarray, positive: int = FORGOTTEN, negative: int = NEVER
) -> np.ndarray:
  """Return the area under the ROC curve of each sample over its models, [N]; ties count half.

  Scores [M, N] that are NaN do not count; a sample without one of the sides gets NaN.
  """
  areas = np.empty(scores.shape[1])
  for part in blocks(scores.shape):
    score, role = scores[:, part], roles[:, part]
    known = ~np.isnan(score)
    member, other = known & (role == positive), known & (role == negative)
    rank = rankdata(np.where(member | other, score, np.inf), axis=0)
    n, m = member.sum(0), other.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
      areas[part] = (np.where(member, rank, 0).sum(0) - n * (n + 1) / 2) / (n * m)
  return areas


def _refuse_nan(*sides: np.ndarray) -> None:
  for side in sides:
    if not len(side):
      raise DataError("an attack needs scores of members and of others; one side is empty")
    if np.isnan(side).any():
      raise DataError(
        f"{int(np.isnan(side).sum())} of {len(side)} scores are NaN; leave failed models out"
      )


def cumulative(others: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
  """Return the scores [m] in ascending order, and the weight of the first 0, 1 ... m of them."""
  if weights is None:
    return np.sort(others), np.arange(len(others) + 1.0)
  order = np.argsort(others)
  return others[order], np.append(0.0, np.cumsum(weights[order], dtype=float))


def thresholds_of(ordered: np.ndarray, total: np.ndarray, rates: np.ndarray) -> np.ndarray:
  """Return the lowest scores above which less than each share of the others' weight lies."""
  above = total[-1] - total[::-1]  # weight of the 0, 1 ... m highest
  allowed = np.searchsorted(above, rates * total[-1] * (1 - 1e-12)) - 1
  return ordered[::-1][np.clip(allowed, 0, len(ordered) - 1)]


def _scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
  """Return the scores of one member, [N] each, from logits [N, C]."""
  log_p = logits - log_sum_exp(logits)[:, None]
  p = np.exp(log_p)
  true = np.arange(len(labels)), labels
  log_rest = _log_one_minus(log_p, p)
  times = lambda a, b: np.where(a > 0, a * b, 0.0)  # 0 log 0 is 0
  others = times(p, log_rest)
  others[true] = 0
  found = {
    "loss": log_p[true],
    "confidence": p[true],
    "margin": log_p[true] - log_rest[true],
    "entropy": times(p, log_p).sum(1),
    "modified_entropy": times(np.exp(log_rest[true]), log_p[true]) + others.sum(1),
    "correctness": logits.argmax(1) == labels,
  }
  finite = usable(logits) & np.isfinite(log_p[true])
  return {name: np.where(finite, score, np.nan) for name, score in found.items()}


def _log_one_minus(log_p: np.ndarray, p: np.ndarray) -> np.ndarray:
  """Return `log(1 - p)`, [N, C], exact also where p rounds to one."""
  largest = np.arange(len(p)), p.argmax(1)
  rest = log_p.copy()
  rest[largest] = -np.inf
  result = np.log1p(-np.minimum(p, 0.5 + 1e-9))  # only the largest can exceed one half
  result[largest] = log_sum_exp(rest)
  return result


def _best_threshold(members: np.ndarray, others: np.ndarray) -> float:
  """Return the score above which guessing "member" has the highest balanced accuracy."""
  candidates = np.unique(np.concatenate([members, others]))
  hits = 1 - np.searchsorted(np.sort(members), candidates, "right") / len(members)
  rejections = np.searchsorted(np.sort(others), candidates, "right") / len(others)
  return candidates[(hits + rejections).argmax()]
