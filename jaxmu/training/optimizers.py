"""Optimizers of the reference as optax chains, without the learning rate (methods.md 0.4).

The engine multiplies by -learning_rate last, after the momentum buffer, so that a schedule never
rescales momentum.
"""

import optax


def sgd(momentum, weight_decay) -> optax.GradientTransformation:
  """Heavy-ball SGD with coupled decay on every leaf: b <- mu b + (g + lambda theta)."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay), optax.trace(decay=momentum, nesterov=False)
  )
