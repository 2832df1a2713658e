"""Optimizers of the reference as optax chains, without the learning rate (methods.md 0.4).

The engine multiplies by -learning_rate last, after the momentum buffer, so that a schedule never
rescales momentum.
"""

import jax
import optax

Number = jax.Array | float


def sgd(momentum: Number, weight_decay: Number) -> optax.GradientTransformation:
  """Heavy-ball SGD with coupled decay on every leaf: b <- mu b + (g + lambda theta)."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay), optax.trace(decay=momentum, nesterov=False)
  )


def adam(weight_decay: Number) -> optax.GradientTransformation:
  """Classic Adam with coupled decay (L2 in the gradient), not AdamW: betas 0.9, 0.999, eps 1e-8."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay), optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)
  )
