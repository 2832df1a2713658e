"""Fine-tuning of the last k blocks and the head, anchored to the weights that it starts from.

CF-k and EU-k share it (methods.md 3).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.models import structure
from jaxmu.training import Pass, Phase, schedules
from jaxmu.training.method import BS, EP, LR, NB, U01, WD, Distribution
from jaxmu.training.objectives import anchor_penalty, classification
from jaxmu.unlearning.parts.gates import gate_updates, moves


class Anchored(NamedTuple):
  """What anchored fine-tuning knows: two trees like params.

  Attributes:
    anchor: the weights that it starts from and is pulled back to.
    trainable: bool per leaf, True for those that move.
  """

  anchor: Any
  trainable: Any


def first_block(params, hp):
  """Return the number of the first trainable block; block 0, before the blocks, never is."""
  return jnp.maximum(structure.num_blocks(params) + 1 - hp["num_blocks"], 1)


def last_blocks(params, hp, num_classes: int):
  """Return F_k, a bool per leaf: True in the last k blocks and in the head; k may be traced."""
  first = first_block(params, hp)
  inside = lambda leaf: ((leaf.block or 0) >= first) | leaf.head
  return jax.tree.map(inside, structure.describe(params, num_classes))


def anchored(params, hp, num_classes: int, batch_norm: str) -> Anchored:
  """Start from `params`, with the last k blocks and the head trainable."""
  inside = last_blocks(params, hp, num_classes)
  moving = lambda leaf, gate: gate & moves(leaf, hp, batch_norm)
  return Anchored(params, jax.tree.map(moving, structure.describe(params, num_classes), inside))


def anchored_fine_tuning(batch_norm, augment: bool = False) -> Phase:
  """Plain SGD on CE(B_r) + (omega/2) ||theta - theta_a||^2, rate dropped per epoch."""
  step = Pass(
    stream="retain",
    loss=anchored_loss,
    transform=lambda hp, aux: gate_updates(aux.trainable),
    schedule=lambda hp, steps: schedules.drop(
      hp["learning_rate"], hp["num_epochs"], hp["sgda_decay_rate"], steps
    ),
    batch_norm=batch_norm,
    augment=augment,
  )
  return Phase("anchored fine-tuning", (step,))


def anchored_loss(forward, params, batch_stats, batch, aux, hp, key):
  """CE(B_r) + (omega/2) ||theta - theta_a||^2; what is called a weight decay is omega."""
  loss, report = classification(forward, params, batch_stats, batch, aux, hp, key)
  return loss + anchor_penalty(hp["sgda_weight_decay"], params, aux.anchor), report


DEFAULTS = {
  "num_blocks": 1,
  "learning_rate": 0.01,
  "sgda_decay_rate": 0.1,
  "sgda_weight_decay": 0.1,
  "batch_size": 256,
  "num_epochs": 10,
}


SPACE = {
  "num_blocks": NB,
  "learning_rate": LR,
  "sgda_decay_rate": U01,
  "sgda_weight_decay": WD,
  "batch_size": BS,
  "num_epochs": EP,
}


AMENDED = {"num_blocks": Distribution("integer", 1, 4)}


DEAD = ("sgda_learning_rate", "momentum", "training_epoch_factor")
