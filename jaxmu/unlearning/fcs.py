"""FCS, forget, contrast, strengthen: unlearn by uniformity, repair on retain, in turns.

Solution 1 of the NeurIPS 2023 unlearning challenge (methods.md 6.1).
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu.data import streams
from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.losses import correct, divergence, mean
from jaxmu.training.method import (
  BS,
  EP,
  ETA,
  FIXED,
  LR,
  MOM,
  REFERENCE,
  TEMP,
  TEMP_FIXED,
  WD,
  Distribution,
  Method,
)
from jaxmu.training.objectives import classification
from jaxmu.training.phase import Report

RATE_BATCH = 64  # batch size for which retain_optimizer_learning_rate is given


def flatten(forward, params, batch_stats, batch, aux, hp, key):
  """KL(u || p) with u uniform over the classes, mean over the batch: L_1."""
  del aux, hp, key
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  loss = mean(divergence(jnp.zeros_like(logits), logits), batch.weight)
  return loss, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


def contrast(forward, params, batch_stats, batch, aux, hp, key):
  """Make each forget sample's logits equally similar to those of all retain samples: L_2.

  Two forwards in train mode, both of which move the BatchNorm statistics: forget, then retain. No
  gradient flows through the retain logits.
  """
  del aux, key
  forget, retain = batch.forget, batch.retain
  z_f, batch_stats = forward(params, batch_stats, forget.x, forget.weight)
  still = lax.stop_gradient(params)
  z_r, batch_stats = forward(still, batch_stats, retain.x, retain.weight)
  values = uniformity(z_f, z_r, hp["temperature"], retain.weight)
  accuracy = mean(correct(z_f, forget.y), forget.weight)
  return mean(values, forget.weight), Report(batch_stats, accuracy)


def uniformity(z_f, z_r, temperature, weight=None):
  """Return -mean over j of log_softmax_j(z_f z_r^T / tau), per forget sample: [B_f].

  Args:
    z_f, z_r: logits [B_f, C], [B_r, C].
    weight: [B_r], 0 for padding, which enters neither the softmax nor the mean.
  """
  similarity = z_f @ z_r.T * (1 / temperature)  # no quotient, see `losses.divergence`
  weight = jnp.ones(len(z_r), z_f.dtype) if weight is None else weight.astype(z_f.dtype)
  largest = jax.nn.logsumexp(similarity, axis=1, b=weight)
  return largest - similarity @ weight / jnp.sum(weight)


def forget_rate(hp, steps):
  """Cosine per step down to eta_min over E ceil(n_f / B) steps."""
  del steps
  top, bottom = hp["forget_optimizer_learning_rate"], hp["eta_min"]
  if hp["fidelity"] == FIXED:
    bottom = jnp.minimum(bottom, top)
  return schedules.cosine_step(top, hp["num_epochs"] * hp["forget_steps"], bottom)


def retain_rate(hp, steps):
  """Constant, proportional to the batch size."""
  del steps
  scale = hp["batch_size"] / RATE_BATCH
  return schedules.constant(hp["retain_optimizer_learning_rate"] * scale)


def group(prefix):
  """Return the SGD of one group of settings; the three passes have states of their own."""
  return lambda hp, aux: sgd(hp[f"{prefix}momentum"], hp[f"{prefix}weight_decay"])


FORGET = Pass(
  stream="forget", loss=flatten, transform=group(""),
  schedule=lambda hp, steps: schedules.constant(hp["learning_rate"]),
)  # fmt: skip
CONTRAST = Pass(
  stream="zip_short", loss=contrast, transform=group("forget_optimizer_"), schedule=forget_rate,
  slot="forget",
)  # fmt: skip
STRENGTHEN = Pass(
  stream="retain", loss=classification, transform=group("retain_optimizer_"), schedule=retain_rate,
  slot="retain",
)  # fmt: skip

METHOD = Method(
  name="fcs",
  title="Forget, contrast, strengthen",
  summary="Flatten the predictions on forget; then alternate epochs that decorrelate forget from "
  "retain logits with epochs of fine-tuning on retain.",
  paper="NeurIPS 2023 unlearning challenge, rank 1",
  needs=frozenset({"retain", "forget"}),
  defaults={
    "learning_rate": 5e-3,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "forget_optimizer_learning_rate": 3e-4,
    "forget_optimizer_momentum": 0.9,
    "forget_optimizer_weight_decay": 0.0,
    "retain_optimizer_learning_rate": 1e-3,
    "retain_optimizer_momentum": 0.9,
    "retain_optimizer_weight_decay": 1e-2,
    "temperature": 1.15,
    "eta_min": 1e-6,
    "batch_size": 256,
    "num_epochs": 8,
  },
  space={
    "learning_rate": LR, "momentum": MOM, "weight_decay": WD,
    "forget_optimizer_learning_rate": LR, "forget_optimizer_momentum": MOM,
    "forget_optimizer_weight_decay": WD,
    "retain_optimizer_learning_rate": LR, "retain_optimizer_momentum": MOM,
    "retain_optimizer_weight_decay": WD,
    "temperature": TEMP, "eta_min": ETA, "batch_size": BS, "num_epochs": EP,
  },
  amended={
    "temperature": TEMP_FIXED,
    "eta_min": Distribution("log_uniform", 1e-6, 1e-1, at_most="forget_optimizer_learning_rate"),
  },
  limits={"temperature": (1e-6, float("inf"))},
  phases=lambda hp: (
    Phase("forget", (FORGET,), epochs=lambda hp: 1),
    Phase("contrast and strengthen", (CONTRAST, STRENGTHEN)),
  ),
  derive=lambda hp, sizes: {"forget_steps": streams.steps("forget", sizes, hp["batch_size"])},
  fidelities=(REFERENCE, FIXED),
  oddities="The rate of the fine-tuning epochs is multiplied by batch_size / 64. An eta_min above "
  "the forget rate turns its annealing into a rise (reference, our default, but excluded by the "
  "amended search space); 'fixed' clamps it.",
)  # fmt: skip
