"""The one place that knows how a network is called."""

import inspect

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxmu.errors import ModelError

TRAIN_FLAGS = ("train", "training", "is_training")
EVAL_FLAGS = ("deterministic", "use_running_average", "eval_mode")


def forward(
  module: nn.Module,
  params,
  batch_stats,
  x: Array,
  *,
  train: bool,
  mask: Array | None = None,
  key: Array | None = None,
) -> tuple[Array, dict]:
  """Apply `module` to x [B, H, W, C] and return (logits [B, classes], batch_stats).

  Works for this package's networks and for any linen module whose train flag is called `train`,
  `training`, `is_training`, or, inverted, `deterministic`, `use_running_average`, `eval_mode`, with or
  without batch statistics. `mask` [B] marks the real samples of a padded batch; `key` feeds dropout.
  Batch statistics are returned unchanged when `train` is false. Raises ModelError for inputs or outputs
  of the wrong form.
  """
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ModelError(f"images must be float and normalised, got dtype {x.dtype}")
  variables = {"params": params, **({"batch_stats": batch_stats} if batch_stats else {})}
  options = _options(module, train, mask, bool(batch_stats))
  rngs = None if key is None else {"dropout": key}
  mutable = ["batch_stats"] if train and batch_stats else False
  try:
    out = module.apply(variables, x, mutable=mutable, rngs=rngs, **options)
  except (flax.errors.FlaxError, TypeError) as error:
    reason = " ".join(str(error).split())
    name = type(module).__name__
    raise ModelError(f"{name} does not accept images of shape {x.shape}: {reason}") from error
  logits, updates = out if mutable else (out, {})
  if not isinstance(logits, jax.Array) or logits.ndim != 2 or logits.shape[0] != x.shape[0]:
    raise ModelError(
      f"{type(module).__name__} must return logits of shape ({x.shape[0]}, classes), "
      f"got {getattr(logits, 'shape', type(logits).__name__)}"
    )
  return logits, updates.get("batch_stats", batch_stats)


def _options(module, train, mask, has_statistics):
  """Translate `train` and `mask` into the keyword arguments that the module's call takes."""
  known = inspect.signature(type(module).__call__).parameters
  options = {name: train for name in TRAIN_FLAGS if name in known}
  options |= {name: not train for name in EVAL_FLAGS if name in known}
  if mask is not None and "mask" in known:
    options["mask"] = mask
  elif mask is not None and train and has_statistics:
    raise ModelError(
      f"{type(module).__name__} has batch statistics but no argument `mask`, "
      "so a padded batch cannot be exact; give it batches of real samples"
    )
  return options
