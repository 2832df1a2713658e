"""One number per sample and model, from logits: what an attacker looks at."""

from collections.abc import Callable

import numpy as np


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Return the losses `logsumexp(f) - f_y`, float64 [..., N] (spec evaluation 1).

  Args:
    logits: [..., N, C], any float type, possibly memory-mapped; read one member at a time.
    labels: int [N].

  Non-finite logits give non-finite losses, quietly.
  """
  return _per_member(_cross_entropy, logits, labels)


def logit_scaled_confidence(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Return `log(p_y + 1e-45) - log(sum_{j != y} p_j + 1e-45)`, float64 [..., N].

  The statistic of LiRA (Carlini et al. 2022, public code) as spec evaluation 9.6 fixes it. Shapes
  as in `cross_entropy`.
  """
  return _per_member(_logit_scaled_confidence, logits, labels)


def _per_member(score: Callable, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Apply `score` to each [N, C] slice, so that only one slice is ever held in float64."""
  labels = np.asarray(labels)
  if logits.ndim < 2 or labels.shape != logits.shape[-2:-1]:
    raise ValueError(f"logits {logits.shape} and labels {labels.shape} must be [..., N, C] and [N]")
  scores = np.empty(logits.shape[:-1])
  with np.errstate(invalid="ignore", over="ignore"):
    for member in np.ndindex(logits.shape[:-2]):
      scores[member] = score(np.asarray(logits[member], np.float64), labels)
  return scores


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  shifted = logits - logits.max(-1, keepdims=True)
  return np.log(np.exp(shifted).sum(-1)) - _true_class(shifted, labels)


def _logit_scaled_confidence(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  total = weights.sum(-1)
  true = _true_class(weights, labels).copy()
  # The other classes are summed, not taken as 1 - p_y, which would lose p_y close to one.
  np.put_along_axis(weights, labels[:, None], 0.0, axis=-1)
  return np.log(true / total + 1e-45) - np.log(weights.sum(-1) / total + 1e-45)


def _true_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
  return np.take_along_axis(values, labels[:, None], axis=-1)[:, 0]
