"""Passes that only collect gradients: no optimizer step, parameters fixed."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu.data.streams import Order
from jaxmu.training import View
from jaxmu.training.losses import cross_entropy, mean
from jaxmu.training.phase import Array, Tree
from jaxmu.training.task import Batch


def signed_gradients(
  view: View,
  params: Tree,
  batch_stats: Tree,
  orders: Sequence[tuple[Array | float, Order]],
  key: Array | None = None,
  *,
  train: bool = True,
) -> tuple[Tree, Tree]:
  """Add up weighted gradients of mean cross-entropy over the batches of several passes, in turn.

  Args:
    orders: (weight, `streams.Order`) pairs; the weight of a pass's batches is a number (+1, -1)
      or an array [batches]. Padded orders of one batch size are scanned together. Where members
      differ in their sets' sizes, batches of padding alone are passed over.
    key: feeds dropout, another mask for every batch; may be None for networks without dropout.
    train: BatchNorm mode; in train mode the running statistics move from batch to batch.

  Returns:
    (sum of signed gradients, a tree like params; batch_stats after the last pass).
  """

  def loss(params: Tree, batch_stats: Tree, batch: Batch, key: Array | None) -> Any:
    logits, batch_stats = view.task.forward(
      params, batch_stats, batch.x, train=train, mask=batch.weight, key=key
    )
    return mean(cross_entropy(logits, batch.y), batch.weight), batch_stats

  def take(carry: Any, signed_samples: Any) -> Any:
    (total, batch_stats), (sign, samples) = carry, signed_samples
    dropout = None if key is None else jax.random.fold_in(key, samples.index[0])
    batch = view.fetch(samples)
    grads, batch_stats = jax.grad(loss, has_aux=True)(params, batch_stats, batch, dropout)
    return (
      jax.tree.map(lambda t, g: t + sign.astype(g.dtype) * g, total, grads),
      batch_stats,
    ), None

  def step(carry: Any, signed_samples: Any) -> Any:
    if not view.ragged:
      return take(carry, signed_samples)
    any_real = jnp.any(signed_samples[1].weight > 0)
    return lax.cond(any_real, take, lambda carry, _: (carry, None), carry, signed_samples)

  carry = jax.tree.map(jnp.zeros_like, params), batch_stats
  for sign, signs, full, rest in _joined(orders):
    if signs.size:
      carry, _ = lax.scan(step, carry, (signs, full))
    if rest is not None:
      carry, _ = step(carry, (sign, rest))
  return carry


def _joined(orders: Sequence[tuple[Array | float, Order]]) -> list[tuple]:
  """Merge passes without a short batch and of equal batch size into one, so as to compile once."""
  parts = []
  for weight, order in orders:
    n_full = order.full.index.shape[0]
    weights = jnp.broadcast_to(jnp.asarray(weight, float), (n_full + (order.rest is not None),))
    parts.append((weights[-1], weights[:n_full], *order))
  widths = {full.index.shape[1] for _, _, full, _ in parts}
  if len(widths) > 1 or any(rest is not None for *_, rest in parts):
    return parts
  signs, full = (
    jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(part[i] for part in parts))
    for i in (1, 2)
  )
  return [(None, signs, full, None)]
