"""Objectives of passes that several methods share (`phase.Loss`)."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmu.training.losses import correct, cross_entropy, mean
from jaxmu.training.phase import Array, Report, Step, Tree
from jaxmu.training.task import Batch


def classification(
  params: Tree, batch_stats: Tree, batch: Batch, step: Step
) -> tuple[Array, Report]:
  """Mean cross-entropy on the batch, CE(B): the loss of O, R, FT, MSG, CT."""
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  loss = mean(cross_entropy(logits, batch.y), batch.weight)
  return loss, report(batch_stats, logits, batch.y, batch)


def ascent(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """Negative mean cross-entropy, -CE(B).

  The sign belongs to the loss, not to the update, so that weight decay still shrinks the weights.
  """
  loss, reported = classification(params, batch_stats, batch, step)
  return -loss, reported


def anchor_penalty(weight: Array | float, params: Tree, anchor: Tree) -> Any:
  """(weight/2) ||theta - anchor||^2 over all leaves; those that never move add nothing."""
  squares = jax.tree.map(lambda p, a: jnp.sum(jnp.square(p - a)), params, anchor)
  return weight / 2 * sum(jax.tree.leaves(squares))


def report(batch_stats: Tree, logits: Array, targets: Array, batch: Batch) -> Report:
  """Return new statistics and the share of a batch whose largest logit is the target."""
  return Report(batch_stats, mean(correct(logits, targets), batch.weight))
