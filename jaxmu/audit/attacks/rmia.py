"""RMIA: is a sample's confidence, relative to reference models, above that of other samples?"""

import math

import numpy as np

from jaxmu.errors import DataError

GAMMA = 2.0
FLOOR = 1e-6  # of a signal


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
  therefore count 0; `compat` keeps them, as AMUN's code does.

  Args:
    logits: [..., N, C], possibly memory-mapped; read one member at a time.
    labels: int [N].
  """
  labels = np.asarray(labels)
  if logits.ndim < 2 or labels.shape != logits.shape[-2:-1]:
    raise ValueError(f"logits {logits.shape} and labels {labels.shape} must be [..., N, C] and [N]")
  polynomial = [1 / math.factorial(i) for i in range(order)]
  true = np.arange(len(labels)), labels
  signals = np.empty(logits.shape[:-1])
  for member in np.ndindex(logits.shape[:-2]):
    scaled = np.asarray(logits[member], np.float64) / temperature
    scaled[true] -= margin
    terms = np.polynomial.polynomial.polyval(scaled, polynomial)
    terms = terms if compat else np.maximum(terms, 0)
    total = terms.sum(-1)
    signals[member] = np.clip(terms[true] / np.where(total == 0, 1, total), FLOOR, 1)
  return signals


def rmia(
  target: np.ndarray,
  reference: np.ndarray | None = None,
  *,
  gamma: float = GAMMA,
  population: np.ndarray | None = None,
  splits: np.ndarray | None = None,
) -> np.ndarray:
  """Return, per target and sample, the share of other samples that it dominates, float32 [T, N].

  `rho(x) = pi(x) / Pr(x)` with `Pr(x)` the mean signal over the reference models; the score of x is
  the share of z != x with `rho(x) / rho(z) > gamma` (Zarifzadeh et al. 2024, arXiv 2312.03262; spec
  extensions 11). Counted in one sorted array, O(N log N) per target.

  Args:
    target: positive signals of the attacked models, [T, N], of `taylor_softmargin` or softmax.
    reference: those of the reference models, [K, N]. None: every target refers to the others.
    gamma: at least 1.
    population: indices of the samples z; None: all.
    splits: int [T], without `reference`: targets of the same split are no references either.

  Raises:
    DataError: shapes do not fit, a signal is not positive, or there is no reference model.
  """
  if not gamma >= 1:
    raise ValueError(f"gamma must be at least 1, got {gamma}")
  groups = np.arange(len(target)) if splits is None else np.unique(splits, return_inverse=True)[1]
  _check(target, target if reference is None else reference, groups)
  inside = np.zeros(target.shape[1], bool)
  inside[slice(None) if population is None else population] = True
  others = np.maximum(inside.sum() - inside, 1)  # z of each x
  mean = _group_means(target, groups) if reference is None else None
  fixed = None if reference is None else reference.mean(0, dtype=float)
  scores = np.empty(target.shape, np.float32)
  for row, (signal, group) in enumerate(zip(target, groups)):
    ratio = signal / (fixed if mean is None else mean[group])
    # rho(z) < rho(x) / gamma; x never counts itself, as gamma is not below 1.
    scores[row] = np.searchsorted(np.sort(ratio[inside]), ratio / gamma, "left") / others
  return scores


def _group_means(signals: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Return the mean signal over the models outside each group, [G, N]."""
  sums = np.zeros((groups.max() + 1, signals.shape[1]))
  for signal, group in zip(signals, groups):
    sums[group] += signal
  return (sums.sum(0) - sums) / (len(groups) - np.bincount(groups))[:, None]


def _check(target: np.ndarray, reference: np.ndarray, groups: np.ndarray) -> None:
  if target.ndim != 2 or target.shape[1:] != reference.shape[1:] or len(groups) != len(target):
    raise DataError(
      f"targets {target.shape}, references {reference.shape} and splits {groups.shape} do not "
      "belong together; expected [T, N], [K, N] and [T]"
    )
  if not len(reference) or (reference is target and groups.max() == 0):
    raise DataError("RMIA has no reference model; give some, or targets of at least two splits")
  for name, signals in (("target", target), ("reference", reference)):
    for model, signal in enumerate(signals):
      if not (signal > 0).all() or not np.isfinite(signal).all():
        raise DataError(
          f"{name} model {model} has a signal that is not positive and finite; leave failed models "
          "out, and clip probabilities from below"
        )
