"""One number per sample and model, from logits: what an attacker looks at."""

from collections.abc import Callable

import numpy as np

from jaxmu.errors import DataError

ROUNDED = 1e-3  # by which probabilities of a sample may miss 1, in half precision too


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Return the losses `logsumexp(f) - f_y`, float64 [..., N] (spec evaluation 1).

  Args:
    logits: [..., N, C], any float type, possibly memory-mapped; read one member at a time. Minus
      infinity for a wrong class says that the model excludes it.
    labels: int [N].

  Other non-finite logits give non-finite losses, quietly.

  Raises:
    DataError: shapes do not fit, or a label is no class.
  """
  return _per_member(_cross_entropy, logits, labels)


def logit_scaled_confidence(
  logits: np.ndarray, labels: np.ndarray, *, compat: bool = False
) -> np.ndarray:
  """Return `log p_y - log(1 - p_y)` as the exact margin `f_y - logsumexp_{c != y} f_c`, [..., N].

  The statistic of LiRA (Carlini et al. 2022, arXiv 2112.03570; spec extensions 11, scaled_logit).
  Its public code adds 1e-45 to both probabilities (spec evaluation 9.6), which stops at +-103.6:
  samples whose margins are pushed to -300 then look like any others at -110. Below 80 both agree to
  4e-15. Arguments as in `cross_entropy`, float64 like it.

  Args:
    compat: with the floor of the public code.

  Raises:
    DataError: shapes do not fit, a label is no class, or there is one class only.
  """
  if logits.ndim and logits.shape[-1] < 2:
    raise DataError(f"a margin needs logits of at least 2 classes, got shape {logits.shape}")
  return _per_member(_floored_margin if compat else _margin, logits, labels)


def check_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Return the labels as an array; refuse those that do not fit the logits [..., N, C].

  Raises:
    DataError: shapes do not fit, or a label lies outside 0..C-1, which would score another class.
  """
  labels = np.asarray(labels)
  if logits.ndim < 2 or labels.shape != logits.shape[-2:-1]:
    raise DataError(f"logits {logits.shape} and labels {labels.shape} must be [..., N, C] and [N]")
  if not np.issubdtype(labels.dtype, np.integer):
    raise DataError(f"labels must be whole numbers, got {labels.dtype}; pass class numbers")
  classes = logits.shape[-1]
  if labels.size and not (labels.min() >= 0 and labels.max() < classes):
    raise DataError(
      f"labels must lie in 0..{classes - 1} for logits of {classes} classes, got "
      f"{labels.min()}..{labels.max()}; leave samples without a class out"
    )
  return labels


def usable(logits: np.ndarray) -> np.ndarray:
  """Tell which samples have logits that mean something, bool [...] for logits [..., C].

  Minus infinity is a probability of zero; plus infinity and NaN are failures, and so are logits
  that are all minus infinity.
  """
  return (logits < np.inf).all(-1) & (logits > -np.inf).any(-1)  # comparisons are false for NaN


def refuse_probabilities(name: str, logits: np.ndarray) -> None:
  """Raise `DataError` where logits [..., C] are what softmax made of them, with wrong losses."""
  if (logits >= 0).all() and (np.abs(logits.sum(-1) - 1) < ROUNDED).all():
    raise DataError(
      f"{name} are probabilities, as each row adds up to 1; expected what the network gives before "
      "softmax, or their logarithms"
    )


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
  """Return `log sum exp` over the last axis, [...]; NaN where all are minus infinity."""
  top = logits.max(-1, keepdims=True)
  return np.log(np.exp(logits - top).sum(-1)) + top[..., 0]


def _per_member(score: Callable, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Apply `score` to each [N, C] slice, so that only one slice is ever held in float64."""
  labels = check_labels(logits, labels)
  scores = np.empty(logits.shape[:-1])
  with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
    for member in np.ndindex(logits.shape[:-2]):
      scores[member] = score(np.asarray(logits[member], np.float64), labels)
  return scores


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  shifted = logits - logits.max(-1, keepdims=True)
  return np.log(np.exp(shifted).sum(-1)) - _true_class(shifted, labels)


def _margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  # The other classes are summed, not taken as 1 - p_y, which would lose p_y close to one.
  others = logits.copy()
  np.put_along_axis(others, labels[:, None], -np.inf, axis=-1)
  return _true_class(logits, labels) - log_sum_exp(others)


def _floored_margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  total = weights.sum(-1)
  true = _true_class(weights, labels).copy()
  np.put_along_axis(weights, labels[:, None], 0.0, axis=-1)
  return np.log(true / total + 1e-45) - np.log(weights.sum(-1) / total + 1e-45)


def _true_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
  return np.take_along_axis(values, labels[:, None], axis=-1)[:, 0]
