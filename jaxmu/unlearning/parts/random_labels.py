"""Training on both sets with random labels for forget samples; SRL and SalUN share it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.data.streams import FORGET
from jaxmu.errors import MethodError
from jaxmu.training import Pass, Phase, Report, Step, View, heavy_ball, schedules
from jaxmu.training.anchors import UNION_ORDER
from jaxmu.training.losses import cross_entropy, mean
from jaxmu.training.objectives import report
from jaxmu.training.phase import Array, Options, Transform, Tree
from jaxmu.training.task import Batch

DRAWS = {
  "union_order": UNION_ORDER,
  "random_labels": "int [n_forget], the label of each forget sample in every epoch",
}


class Relabelling(NamedTuple):
  """What training with random labels knows.

  Attributes:
    labels: int [N] by position in the data set, in place of drawn labels; or None.
    mask: tree like params of bool arrays, True = trained; None trains everything.
  """

  labels: Array | None
  mask: Tree | None = None


def replaced_labels(view: View) -> Array | None:
  """Return the caller's labels by position in the data set, int [N]; None where they are drawn.

  Raises:
    MethodError: for labels of another form.
  """
  labels = view.draws.get("random_labels")
  if labels is None:
    return None
  if labels.shape != (view.size("forget"),) or not jnp.issubdtype(labels.dtype, jnp.integer):
    raise MethodError(
      f"random_labels must hold {view.size('forget')} integers, one per forget sample, "
      f"got {labels.dtype} {labels.shape}"
    )
  return view.table({"forget": labels.astype(jnp.int32)})


def relabelled(batch: Batch, num_classes: int, labels: Array | None, key: Array) -> Array:
  """Return the batch's labels [B], on forget samples drawn uniformly from all C classes.

  The true class is not excluded. Every step has its own key, so every visit draws anew.

  Args:
    labels: int [N] by position in the data set, in place of drawn ones; or None.
  """
  if labels is None:
    random = jax.random.randint(key, batch.y.shape, 0, num_classes, batch.y.dtype)
  else:
    random = labels[batch.index].astype(batch.y.dtype)
  return jnp.where(batch.origin == FORGET, random, batch.y)


def loss(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """CE(B) on the mixed batch with random labels: one forward, one mean; accuracy on true labels."""
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  labels = relabelled(batch, logits.shape[-1], step.aux.labels, step.key)
  value = mean(cross_entropy(logits, labels), batch.weight)
  return value, report(batch_stats, logits, batch.y, batch)


def relabel(
  options: Options,
  transform: Transform = heavy_ball,
) -> tuple[Phase, ...]:
  """Train on both sets at a constant rate; `prepare` has returned a `Relabelling`."""
  step = Pass(
    stream="union_forget_first",
    batch_size=options["batch_size"],
    loss=loss,
    transform=transform,
    schedule=schedules.constant_rate,
  )
  return (Phase("random labels", (step,)),)
