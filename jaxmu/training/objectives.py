"""Losses of passes that several methods share: (forward, params, batch_stats, batch, ...)."""

import jax
import jax.numpy as jnp

from jaxmu.training.losses import correct, cross_entropy, mean
from jaxmu.training.phase import Report


def classification(forward, params, batch_stats, batch, aux, hp, key):
  """Mean cross-entropy on the batch, CE(B): the loss of O, R, FT, MSG, CT."""
  del aux, hp, key
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  loss = mean(cross_entropy(logits, batch.y), batch.weight)
  return loss, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


def ascent(*arguments):
  """Negative mean cross-entropy, -CE(B).

  The sign belongs to the loss, not to the update, so that weight decay still shrinks the weights.
  """
  loss, report = classification(*arguments)
  return -loss, report


def anchor_penalty(weight, params, anchor):
  """(weight/2) ||theta - anchor||^2 over all leaves; those that never move add nothing."""
  squares = jax.tree.map(lambda p, a: jnp.sum(jnp.square(p - a)), params, anchor)
  return weight / 2 * sum(jax.tree.leaves(squares))
