"""FCS, forget, contrast, strengthen: unlearn by uniformity, repair on retain, in turns.

Solution 1 of the NeurIPS 2023 unlearning challenge (methods.md 6.1).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu.data import streams
from jaxmu.data.streams import Pair
from jaxmu.settings.ranges import NOT_NEGATIVE
from jaxmu.training import Pass, Phase, Report, Step, heavy_ball, hyper, schedules
from jaxmu.training.hyper import Distribution, Hyper
from jaxmu.training.losses import correct, divergence, mean
from jaxmu.training.method import FIXED, REFERENCE, Method, Sizes
from jaxmu.training.objectives import classification, report
from jaxmu.training.phase import Array, Hp, Options, Rate, Tree
from jaxmu.training.schedules import Schedule
from jaxmu.training.task import Batch

ETA = Distribution("log_uniform", 1e-6, 1e-1)
FORGET_RATE = "forget_optimizer_learning_rate"
RATE_BATCH = 64  # batch size for which retain_optimizer_learning_rate is given


def flatten(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """KL(u || p) with u uniform over the classes, mean over the batch: L_1."""
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  loss = mean(divergence(jnp.zeros_like(logits), logits), batch.weight)
  return loss, report(batch_stats, logits, batch.y, batch)


def contrast(params: Tree, batch_stats: Tree, batch: Pair, step: Step) -> tuple[Array, Report]:
  """Make each forget sample's logits equally similar to those of all retain samples: L_2.

  Two forwards in train mode, both of which move the BatchNorm statistics: forget, then retain. No
  gradient flows through the retain logits.
  """
  forget, retain = batch.forget, batch.retain
  z_f, batch_stats = step.forward(params, batch_stats, forget.x, forget.weight)
  still = lax.stop_gradient(params)
  z_r, batch_stats = step.forward(still, batch_stats, retain.x, retain.weight)
  values = uniformity(z_f, z_r, step.hp["temperature"], retain.weight)
  accuracy = mean(correct(z_f, forget.y), forget.weight)
  return mean(values, forget.weight), Report(batch_stats, accuracy)


def uniformity(
  z_f: Array, z_r: Array, temperature: Array | float, weight: Array | None = None
) -> Array:
  """Return -mean over j of log_softmax_j(z_f z_r^T / tau), per forget sample: [B_f].

  Args:
    z_f, z_r: logits [B_f, C], [B_r, C].
    weight: [B_r], 0 for padding, which enters neither the softmax nor the mean.
  """
  similarity = z_f @ z_r.T * (1 / temperature)  # no quotient, see `losses.divergence`
  weight = jnp.ones(len(z_r), z_f.dtype) if weight is None else weight.astype(z_f.dtype)
  largest = jax.nn.logsumexp(similarity, axis=1, b=weight[None])
  return largest - similarity @ weight / jnp.sum(weight)


def forget_rate(options: Options) -> Rate:
  """Cosine per step down to eta_min over E ceil(n_f / B) steps."""

  def rate(hp: Hp, steps: int) -> Schedule:
    top, bottom = hp["forget_optimizer_learning_rate"], hp["eta_min"]
    if options["fidelity"] == FIXED:
      bottom = jnp.minimum(bottom, top)
    return schedules.cosine_step(top, hp["num_epochs"] * hp["forget_steps"], bottom)

  return rate


def retain_rate(options: Options) -> Rate:
  """Constant, proportional to the batch size."""
  scale = options["batch_size"] / RATE_BATCH
  return lambda hp, steps: schedules.constant(hp["retain_optimizer_learning_rate"] * scale)


def phases(options: Options) -> tuple[Phase, ...]:
  """One epoch of forgetting, then epochs that contrast and strengthen."""
  batch_size = options["batch_size"]
  forget = Pass(
    stream="forget",
    batch_size=batch_size,
    loss=flatten,
    transform=heavy_ball,
    schedule=schedules.constant_rate,
  )
  contrasting = Pass(
    stream="zip_short",
    batch_size=batch_size,
    loss=contrast,
    transform=lambda step: heavy_ball(step, "forget_optimizer_"),
    schedule=forget_rate(options),
    slot="forget",
  )
  strengthen = Pass(
    stream="retain",
    batch_size=batch_size,
    loss=classification,
    transform=lambda step: heavy_ball(step, "retain_optimizer_"),
    schedule=retain_rate(options),
    slot="retain",
  )
  return (
    Phase("forget", (forget,), epochs=lambda hp: 1),
    Phase("contrast and strengthen", (contrasting, strengthen)),
  )


def derive(hp: Mapping[str, Any], sizes: Sizes) -> dict[str, int]:
  """Count the steps over which the forget rate falls."""
  return {"forget_steps": streams.steps("forget", sizes, hp["batch_size"])}


METHOD = Method(
  name="fcs",
  label="FCS",
  title="Forget, contrast, strengthen",
  summary="Flatten the predictions on forget; then alternate epochs that decorrelate forget from "
  "retain logits with epochs of fine-tuning on retain.",
  paper="NeurIPS 2023 unlearning challenge, rank 1",
  needs=frozenset({"retain", "forget"}),
  hyper={
    "learning_rate": hyper.rate(5e-3),
    "momentum": hyper.mom(0.9),
    "weight_decay": hyper.decay(0.0),
    "forget_optimizer_learning_rate": hyper.rate(3e-4),
    "forget_optimizer_momentum": hyper.mom(0.9),
    "forget_optimizer_weight_decay": hyper.decay(0.0),
    "retain_optimizer_learning_rate": hyper.rate(1e-3),
    "retain_optimizer_momentum": hyper.mom(0.9),
    "retain_optimizer_weight_decay": hyper.decay(1e-2),
    "temperature": hyper.temperature(1.15),
    "eta_min": Hyper(1e-6, NOT_NEGATIVE, ETA, dataclasses.replace(ETA, at_most=FORGET_RATE)),
    "batch_size": hyper.batch(256),
    "num_epochs": hyper.epochs(8),
  },
  phases=phases,
  derive=derive,
  fidelities=(REFERENCE, FIXED),
  oddities="The rate of the fine-tuning epochs is multiplied by batch_size / 64. An eta_min above "
  "the forget rate turns its annealing into a rise (reference, our default, but excluded by the "
  "amended search space); 'fixed' clamps it.",
)
