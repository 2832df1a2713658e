"""RMIA: is a sample's confidence, relative to reference models, above that of other samples?"""

import math

import numpy as np

from jaxmu.errors import DataError

GAMMA = 1.0
FLOOR = 1e-6  # of a signal
_LARGEST = 1e200  # of a term, so that sums do not overflow


def taylor_softmargin(
  logits: np.ndarray,
  labels: np.ndarray,
  *,
  temperature: float = 2.0,
  margin: float = 0.6,
  order: int = 4,
  compat: bool = False,
) -> np.ndarray:
  """Return the signal of RMIA, a softmax with Taylor polynomials and a margin, float64 [..., N].

  `t(a_y - m) / (t(a_y - m) + sum_{c != y} t(a_c))` with `a = f / temperature` and `t(a) = sum_{i <
  order} a^i / i!`, clipped to [1e-6, 1] (spec extensions 11, defaults of AMUN's code).

  With four terms t is negative below a = -1.6, a common logit: other classes then make the quotient
  of a sample that is certainly right negative, and that of a wrong one can reach 1. Negative terms
  therefore count 0; `compat` keeps them, as AMUN's code does. A class whose logit is -inf has no
  probability. NaN and +inf give NaN.

  Args:
    logits: [..., N, C], possibly memory-mapped; read one member at a time.
    labels: int [N], from 0 to C - 1.

  Raises:
    DataError: a label is not that of a class.
  """
  labels = np.asarray(labels)
  if logits.ndim < 2 or labels.shape != logits.shape[-2:-1]:
    raise ValueError(f"logits {logits.shape} and labels {labels.shape} must be [..., N, C] and [N]")
  outside = (labels < 0) | (labels >= logits.shape[-1])
  if outside.any():
    raise DataError(
      f"label {labels[outside.argmax()]} of sample {outside.argmax()} is no class; expected 0 to "
      f"{logits.shape[-1] - 1}"
    )
  true = np.arange(len(labels)), labels
  signals = np.empty(logits.shape[:-1])
  for member in np.ndindex(logits.shape[:-2]):
    with np.errstate(over="ignore"):
      scaled = np.asarray(logits[member], np.float64) / temperature
    scaled[true] -= margin
    terms = _polynomial(scaled, order)
    terms = terms if compat else np.maximum(terms, 0)
    total = terms.sum(-1)
    signals[member] = np.clip(terms[true] / np.where(total == 0, 1, total), FLOOR, 1)
  return signals


def _polynomial(values: np.ndarray, order: int) -> np.ndarray:
  """Return `sum_{i < order} a^i / i!`: 0 for -inf, NaN for +inf, values cut before it overflows."""
  largest = _LARGEST ** (1 / max(1, order - 1))
  finite = np.isfinite(values)
  cut = np.clip(np.where(finite, values, 0), -largest, largest)
  terms = np.polynomial.polynomial.polyval(cut, [1 / math.factorial(i) for i in range(order)])
  return np.where(finite, terms, np.where(values == -np.inf, 0, np.nan))


def rmia(
  target: np.ndarray,
  reference: np.ndarray | None = None,
  *,
  gamma: float = GAMMA,
  offline_a: float | None = None,
  member: np.ndarray | None = None,
  population: np.ndarray | None = None,
  splits: np.ndarray | None = None,
) -> np.ndarray:
  """Return, per target and sample, the share of other samples that it dominates, float32 [T, N].

  `rho(x) = pi(x) / Pr(x)`; the score of x is the share of z != x with `rho(x) / rho(z) > gamma`
  (Zarifzadeh et al. 2024, arXiv 2312.03262; spec extensions 11). Counted in one sorted array,
  O(N log N) per target. Online, `Pr(x)` is the mean signal over all reference models; offline,
  `((1 + a) Pr_out(x) + 1 - a) / 2` with the mean over those that did not train on x: the paper
  guesses the others' mean as `a Pr_out + 1 - a`. NaN where a sample has no such model.

  Args:
    target: probabilities of the attacked models, [T, N], of `taylor_softmargin` or softmax.
    reference: those of the reference models, [K, N]. None: every target refers to the others.
    gamma: at least 1, the public code's; AMUN takes 2.
    offline_a: `a` of the offline form, in [0, 1] (the public code's default is 0.3); None: online.
    member: whether a reference model trained on the sample, bool [K, N], or [T, N] without
      `reference`; offline only. None: no model trained on any.
    population: indices of the samples z; None: all. The public code takes samples that no model
      trained on.
    splits: int [T], without `reference`: targets of the same split are no references either.

  Raises:
    DataError: shapes do not fit or are empty, a signal is not positive, or there is no reference
      model.
  """
  if not gamma >= 1:
    raise ValueError(f"gamma must be at least 1, got {gamma}")
  if offline_a is not None and not 0 <= offline_a <= 1:
    raise ValueError(f"offline_a must lie in [0, 1], got {offline_a}")
  groups = np.arange(len(target)) if splits is None else np.unique(splits, return_inverse=True)[1]
  models = target if reference is None else reference
  _check(target, models, groups)
  out = _outsiders(member, models, offline_a)
  inside = np.zeros(target.shape[1], bool)
  inside[slice(None) if population is None else population] = True
  mean = _group_means(models, out, groups if reference is None else None)
  if offline_a is not None:
    mean = ((1 + offline_a) * mean + 1 - offline_a) / 2
  scores = np.empty(target.shape, np.float32)
  for row, (signal, group) in enumerate(zip(target, groups)):
    scores[row] = _dominated(signal, mean[group if reference is None else 0], inside, gamma)
  return scores


def _dominated(
  signal: np.ndarray, mean: np.ndarray, inside: np.ndarray, gamma: float
) -> np.ndarray:
  """Return the share of samples `inside` that each sample dominates, [N]; NaN without a mean."""
  with np.errstate(over="ignore", divide="ignore"):
    ratio = signal / mean
  known = np.isfinite(mean)
  others = (inside & known).sum() - inside
  # rho(z) < rho(x) / gamma; x never counts itself, as gamma is not below 1.
  below = np.searchsorted(np.sort(ratio[inside & known]), ratio / gamma, "left")
  return np.where(known, below / np.maximum(others, 1), np.nan)


def _outsiders(
  member: np.ndarray | None, models: np.ndarray, offline_a: float | None
) -> np.ndarray | None:
  """Return which reference models did not train on a sample, bool [K, N]; None: all count."""
  if member is None:
    return None
  if offline_a is None:
    raise ValueError("member is for the offline form only; give offline_a, such as 0.3, too")
  if np.shape(member) != models.shape:
    raise DataError(
      f"member {np.shape(member)} must tell for each of the reference signals {models.shape} "
      "whether its model trained on the sample"
    )
  return ~np.asarray(member, bool)


def _group_means(
  signals: np.ndarray, out: np.ndarray | None, groups: np.ndarray | None
) -> np.ndarray:
  """Return the mean signal over the models outside each group, [G, N]; no groups: over all, [1, N].

  Only models that are `out` of a sample count, [K, N]; NaN where none is left.
  """
  left_out = groups is not None
  groups = groups if left_out else np.zeros(len(signals), int)
  sums, count = np.zeros((2, groups.max() + 1, signals.shape[1]))
  with np.errstate(over="ignore", invalid="ignore"):
    for model, (signal, group) in enumerate(zip(signals, groups)):
      counts = True if out is None else out[model]
      sums[group] += np.where(counts, signal, 0)
      count[group] += counts
    if left_out:
      sums, count = sums.sum(0) - sums, count.sum(0) - count
  return np.where(count > 0, sums, np.nan) / np.maximum(count, 1)


def _check(target: np.ndarray, reference: np.ndarray, groups: np.ndarray) -> None:
  if target.ndim != 2 or target.shape[1:] != reference.shape[1:] or len(groups) != len(target):
    raise DataError(
      f"targets {target.shape}, references {reference.shape} and splits {groups.shape} do not "
      "belong together; expected [T, N], [K, N] and [T]"
    )
  if not target.size:
    raise DataError(f"targets {target.shape} are empty; expected at least one model and one sample")
  if not len(reference) or (reference is target and groups.max() == 0):
    raise DataError("RMIA has no reference model; give some, or targets of at least two splits")
  for name, signals in (("target", target), ("reference", reference)):
    for model, signal in enumerate(signals):
      if not (signal > 0).all() or not np.isfinite(signal).all():
        raise DataError(
          f"{name} model {model} has a signal that is not positive and finite; leave failed models "
          "out, and clip probabilities from below"
        )
