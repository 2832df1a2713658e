"""The attack behind "MIA-Efficacy": a support-vector classifier of retain against test samples.

Unlike one threshold on the loss, the RBF kernel also finds forget samples that an unlearning method
has made *more* uncertain than unseen ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import softmax

from jaxmu.audit.attacks.population_scores import population_scores
from jaxmu.audit.attacks.scores import check_labels, usable
from jaxmu.errors import DataError, closest

FEATURES = ("correctness", "confidence", "entropy", "modified_entropy", "probabilities")

_TIE = 1e-9  # decisions of equally frequent, equal samples are zero up to round-off (1e-12)
# libsvm takes squared distances as x^2 + y^2 - 2 x y: from about 1e8 on they are noise, of both
# signs, and the kernel overflows.
_LARGEST = 1e6


def svc_mia(logits: np.ndarray, labels: np.ndarray, **options) -> dict[str, float]:
  """Return the score of `svc_mia_many` for one model, by feature.

  Args:
    logits: [N, C].
    labels: int [N].
    options: the keyword arguments of `svc_mia_many`.
  """
  found = svc_mia_many(np.asarray(logits)[None], labels, **options)
  return {name: float(score[0]) for name, score in found.items()}


def svc_mia_many(
  logits: np.ndarray,
  labels: np.ndarray,
  *,
  retain: np.ndarray,
  test: np.ndarray,
  forget: np.ndarray,
  features: Sequence[str] = FEATURES,
  limit: int | None = None,
  compat: bool = False,
  seed: int = 0,
) -> dict[str, np.ndarray]:
  """Return the share of forget samples that an SVC takes for non-members, float64 [K] by feature.

  "MIA-Efficacy" of SalUn (Fan et al. 2024, arXiv 2310.12508; spec auditing 6.1):
  `SVC(C=3, gamma="auto", kernel="rbf")` learns to tell retain samples (members) from test samples
  (non-members) by one feature at a time, and then judges the forget samples. Papers usually quote
  "confidence".

  The target is the value of the RETRAINED model, not 1: the classifier takes many unseen samples
  for members, since a model is right and certain about most of both kinds. A higher value than the
  retrained model's is no better than a lower one; see `gap_to_retrained`. Compare only values from
  equally many samples: with C and gamma fixed, the value depends on how many are fitted (on one
  synthetic problem .38 with 250 per side, .46 with 5000).

  Equal numbers of retain and test samples are drawn at random, the same ones for all members.
  Features are not scaled, as in the original: `p_y` in [0, 1], nats, or the C probabilities. Where
  the two kinds cannot be told apart at all (decision zero, as for a constant feature), a sample
  counts one half. "correctness" gives the forget error if the model is right more often on retain
  than on test samples, and jumps to one minus it if not.

  Args:
    logits: [K, N, C], any float type, possibly memory-mapped; read one member at a time.
    labels: int [N], in [0, C).
    retain, test, forget: index arrays (or boolean masks) into N.
    features: of `FEATURES`.
    limit: the most samples per side that the SVC is fitted on, None for all that there are; the
      time per member and feature grows with its square (0.03 s for 250, 0.2 s for 1000, 0.8 s for
      2000, 3-4 s for 5000; 10 classes, one CPU core), so 2000 is sensible for large test sets.
    compat: equal the original's public code. The first |test| retain samples, in order; no halves
      for ties; single precision; and its modified entropy, which has `log p` in place of
      `log(1 - p)`, and `1 - p` in place of `p` in every row for every class that occurs in the set
      (retain, test or forget): for a forget set of one class it is another quantity than for the
      sets that the SVC is fitted on. Each operation is rounded once to single precision; torch may
      differ in the last digit, and in the log of p < 1e-38, by device.
    seed: of the draw; unused under `compat`.

  Returns:
    Scores in [0, 1]. A member with NaN, +inf, or -inf for the true class among the logits used gets
    NaN, quietly; -inf for a wrong class is the probability zero.

  Raises:
    DataError: labels out of range, sets that do not index the samples, overlap or are too small.
    ValueError: an unknown feature, or a limit below 2.
  """
  if logits.ndim != 3:
    raise DataError(f"logits {logits.shape} must be [K, N, C]: members, samples, classes")
  labels = check_labels(logits, labels)
  for name in features:
    if name not in FEATURES:
      raise ValueError(f"unknown feature {name!r}; {closest(name, FEATURES)}")
  retain, test, forget = _checked_sets(len(labels), retain=retain, test=test, forget=forget)
  fitted = _first(retain, test, limit) if compat else _drawn(retain, test, limit, seed)
  sets = (*fitted, forget)
  describe = _original_features if compat else _exact_features
  found = {name: np.full(len(logits), np.nan) for name in features}
  for member, values in enumerate(logits):
    with np.errstate(over="ignore"):
      parts = [np.asarray(values[rows], np.float32 if compat else np.float64) for rows in sets]
    if all(_usable(part, labels[rows]) for part, rows in zip(parts, sets)):
      described = [describe(part, labels[rows]) for part, rows in zip(parts, sets)]
      for name in features:
        found[name][member] = _non_member_share(*(part[name] for part in described), compat)
  return found


def svc_mia_of(
  feature: np.ndarray,
  *,
  retain: np.ndarray,
  test: np.ndarray,
  forget: np.ndarray,
  limit: int | None = None,
  seed: int = 0,
) -> float:
  """Return the score of `svc_mia` for one feature [N] that is at hand already.

  Args:
    feature: one number per sample, finite where the sets are: one of `population_scores`.

  The other arguments and errors are those of `svc_mia_many`.
  """
  retain, test, forget = _checked_sets(len(feature), retain=retain, test=test, forget=forget)
  sets = (*_drawn(retain, test, limit, seed), forget)
  return float(_non_member_share(*(feature[rows][:, None] for rows in sets), compat=False))


def gap_to_retrained(
  method: Mapping[str, np.ndarray], retrained: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Return retrained minus method for every feature of `method`: [K], or floats from floats.

  Zero is best. Above zero, forget samples look more like members than after retraining: too little
  is forgotten. Below zero, they look less like members: they stand out, which is a leak too.

  Args:
    method, retrained: results of `svc_mia_many` on members paired by index, or of `svc_mia`.

  Raises:
    DataError: a feature is absent from `retrained`, or the numbers of members differ.
  """
  gap = {}
  for name, score in method.items():
    if name not in retrained:
      raise DataError(f"the retrained models lack the feature {name!r}; run both with the same")
    if np.shape(score) != np.shape(retrained[name]):
      raise DataError(
        f"{name} of the method and of the retrained models have shapes {np.shape(score)} and "
        f"{np.shape(retrained[name])}; expected one retrained model per unlearned one"
      )
    gap[name] = retrained[name] - score
  return gap


def _checked_sets(count: int, **sets: np.ndarray) -> list[np.ndarray]:
  """Return the sample numbers that index arrays or boolean masks name, of disjoint sets."""
  found = {}
  for name, rows in sets.items():
    rows = np.asarray(rows if len(rows) else np.empty(0, int))
    rows = np.flatnonzero(rows) if rows.dtype == bool and rows.shape == (count,) else rows
    if rows.dtype.kind not in "iu" or rows.ndim != 1:
      raise DataError(
        f"{name} is {rows.dtype} {rows.shape}; expected int indices or a bool mask ({count},)"
      )
    least = 1 if name == "forget" else 2
    if len(rows) < least:
      raise DataError(f"{name} has {len(rows)} samples; expected at least {least}")
    if rows.min() < 0 or rows.max() >= count:
      raise DataError(
        f"{name} reaches from {rows.min()} to {rows.max()}; expected indices in [0, {count})"
      )
    for other, known in found.items():
      if shared := np.intersect1d(rows, known).size:
        raise DataError(f"{name} and {other} share {shared} samples; expected disjoint sets")
    found[name] = rows
  return list(found.values())


def _first(retain: np.ndarray, test: np.ndarray, limit: int | None) -> tuple[np.ndarray, ...]:
  """Return the samples that the original fits on: as many of each, the first ones."""
  if len(retain) < len(test):
    raise DataError(
      f"the original attack needs as many retain as test samples, got {len(retain)} and "
      f"{len(test)}; use compat=False or fewer test samples"
    )
  size = _size(retain, test, limit)
  return retain[:size], test[:size]


def _drawn(
  retain: np.ndarray, test: np.ndarray, limit: int | None, seed: int
) -> tuple[np.ndarray, ...]:
  rng = np.random.default_rng(seed)
  size = _size(retain, test, limit)
  return tuple(rng.choice(rows, size, replace=False) for rows in (retain, test))


def _size(retain: np.ndarray, test: np.ndarray, limit: int | None) -> int:
  size = min(len(retain), len(test))
  if limit is None:
    return size
  if limit < 2:
    raise ValueError(f"limit must be at least 2 samples per side, or None for all; got {limit}")
  return min(size, limit)


def _usable(logits: np.ndarray, labels: np.ndarray) -> bool:
  """Tell whether every sample has a finite loss."""
  true = logits[np.arange(len(labels)), labels]
  return bool(usable(logits).all() and np.isfinite(true).all())


def _exact_features(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
  """Return the features of float64 logits [N, C], each [N, D]; signs do not matter to the kernel.

  The modified entropy is that of Song & Mittal 2021 (arXiv 2003.10595).
  """
  scores = population_scores(logits[None], labels)
  found = {name: scores[name][0][:, None] for name in FEATURES if name in scores}
  found["modified_entropy"] = np.clip(found["modified_entropy"], -_LARGEST, 0)
  with np.errstate(over="ignore"):
    found["probabilities"] = softmax(logits, axis=1)
  return found


def _original_features(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
  """Return the features of the original's public code, faults included, float32 [N, D] each."""
  p = softmax(logits.astype(np.float64), axis=1).astype(np.float32)
  floored = np.where(p > 0, p, 1e-30)  # the original's floor; 0 log 0 is 0
  log_p = np.log(floored, dtype=np.float64).astype(np.float32)
  replaced = np.isin(np.arange(p.shape[1]), labels)  # in all rows
  modified = np.where(replaced, 1 - p, p)
  minus_sum = lambda terms: -terms.sum(1, keepdims=True, dtype=np.float64).astype(np.float32)
  return {
    "correctness": (p.argmax(1) == labels)[:, None],
    "confidence": p[np.arange(len(p)), labels][:, None],
    "entropy": minus_sum(p * log_p),
    "modified_entropy": minus_sum(modified * log_p),
    "probabilities": p,
  }


def _non_member_share(
  retain: np.ndarray, test: np.ndarray, forget: np.ndarray, compat: bool
) -> float:
  """Fit on features [n, D] and [m, D]; return the share of `forget` predicted non-member."""
  from sklearn.svm import SVC

  member = np.repeat([1, 0], [len(retain), len(test)])
  classifier = SVC(C=3, gamma="auto", kernel="rbf").fit(np.concatenate([retain, test]), member)
  if compat:
    return 1 - classifier.predict(forget).mean()
  decision = classifier.decision_function(forget)
  return (decision < -_TIE).mean() + (np.abs(decision) <= _TIE).mean() / 2
