"""Training on both sets with random labels for forget samples; SRL and SalUN share it."""

import jax
import jax.numpy as jnp

from jaxmu.data.streams import FORGET
from jaxmu.errors import MethodError
from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.losses import correct, cross_entropy, mean
from jaxmu.training.phase import Report

DRAWS = {
  "union_order": "int [n_retain + n_forget], visiting order, retain samples counted first",
  "random_labels": "int [n_forget], the label of each forget sample in every epoch",
}


def replaced_labels(view):
  """Return the caller's labels by position in the data set, int [N]; None where they are drawn."""
  labels = view.draws.get("random_labels")
  if labels is None:
    return None
  if labels.shape != (view.size("forget"),) or not jnp.issubdtype(labels.dtype, jnp.integer):
    raise MethodError(
      f"random_labels must hold {view.size('forget')} integers, one per forget sample, "
      f"got {labels.dtype} {labels.shape}"
    )
  return view.table({"forget": labels.astype(jnp.int32)})


def relabelled(batch, num_classes, labels, key):
  """Return the batch's labels [B], on forget samples drawn uniformly from all C classes.

  The true class is not excluded. Every step has its own key, so every visit draws anew.

  Args:
    labels: int [N] by position in the data set, in place of drawn ones; or None.
  """
  if labels is None:
    random = jax.random.randint(key, batch.y.shape, 0, num_classes, batch.y.dtype)
  else:
    random = labels[batch.index]
  return jnp.where(batch.origin == FORGET, random, batch.y).astype(batch.y.dtype)


def loss(forward, params, batch_stats, batch, aux, hp, key):
  """CE(B) on the mixed batch with random labels: one forward, one mean; accuracy on true labels."""
  del hp
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  labels = relabelled(batch, logits.shape[-1], aux["labels"], key)
  value = mean(cross_entropy(logits, labels), batch.weight)
  return value, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


def relabel(transform=lambda hp, aux: sgd(hp["momentum"], hp["weight_decay"])) -> Phase:
  """Train on both sets at a constant rate; SalUN runs this phase too, with its own transform."""
  step = Pass(
    stream="union_forget_first",
    loss=loss,
    transform=transform,
    schedule=lambda hp, steps: schedules.constant(hp["learning_rate"]),
  )
  return Phase("random labels", (step,))
