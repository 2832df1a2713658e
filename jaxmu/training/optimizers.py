"""Optimizers of the reference as optax chains, without the learning rate (methods.md 0.4).

The engine multiplies by -learning_rate last, after the momentum buffer, so that a schedule never
rescales momentum.
"""

from typing import Any

import jax
import optax

from jaxmu.training.phase import Step

Number = jax.Array | float


def heavy_ball(step: Step, prefix: str = "") -> optax.GradientTransformation:
  """Return the SGD of a method's hyper-parameters `momentum` and `weight_decay`.

  Args:
    prefix: what their names begin with where a method has several groups of them.
  """
  return sgd(step.hp[f"{prefix}momentum"], step.hp[f"{prefix}weight_decay"])


def sgd(momentum: Number, weight_decay: Number) -> optax.GradientTransformation:
  """Heavy-ball SGD with coupled decay on every leaf: b <- mu b + (g + lambda theta)."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay), optax.trace(decay=momentum, nesterov=False)
  )


def adam(weight_decay: Number) -> optax.GradientTransformation:
  """Classic Adam with coupled decay (L2 in the gradient), not AdamW: betas 0.9, 0.999, eps 1e-8."""
  moments = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)
  return optax.chain(optax.add_decayed_weights(weight_decay), _promoting(moments))


def _promoting(transform: optax.GradientTransformation) -> optax.GradientTransformation:
  """Let a transformation of optax mix types in a program that forbids it: Adam's are 0.9**count."""

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    with jax.numpy_dtype_promotion("standard"):
      return transform.update(updates, state, params)

  return optax.GradientTransformation(transform.init, update)
