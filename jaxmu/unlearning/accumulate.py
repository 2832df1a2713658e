"""Passes that only collect gradients: no optimizer step, parameters fixed."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu.training.losses import cross_entropy, mean


def accumulate_gradients(view, params, batch_stats, order, *, train: bool = True):
  """Sum the gradients of mean cross-entropy over the batches of one pass.

  Args:
    order: `View.order` or `View.positions`.
    train: BatchNorm mode; in train mode the running statistics move from batch to batch.

  Returns:
    (sum of gradients, a tree like params; batch_stats after the pass).
  """

  def loss(params, batch_stats, batch):
    logits, batch_stats = view.task.forward(
      params, batch_stats, batch.x, train=train, mask=batch.weight
    )
    return mean(cross_entropy(logits, batch.y), batch.weight), batch_stats

  def step(carry, samples):
    total, batch_stats = carry
    grads, batch_stats = jax.grad(loss, has_aux=True)(params, batch_stats, view.fetch(samples))
    return (jax.tree.map(jnp.add, total, grads), batch_stats), None

  carry = jax.tree.map(jnp.zeros_like, params), batch_stats
  if jax.tree.leaves(order.full)[0].shape[0]:
    carry, _ = lax.scan(step, carry, order.full)
  if order.rest is not None:
    carry, _ = step(carry, order.rest)
  return carry
