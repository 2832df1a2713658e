"""CF-k, catastrophic forgetting: fine-tune the last k blocks and the head on the retain set.

The rest of the network never moves. EU-k shares the trainable part and the fine-tuning
(methods.md 3), which stays anchored to the weights that it starts from.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.models import structure
from jaxmu.training import Pass, Phase, schedules
from jaxmu.training.method import BS, EP, FIXED, LR, NB, REFERENCE, U01, WD, Distribution, Method
from jaxmu.training.objectives import anchor_penalty, classification
from jaxmu.unlearning.transforms import gate_updates, moves


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


def prepare(key, variables, view, hp):
  """Anchor the original's weights."""
  del key
  params = variables["params"]
  return variables, anchored(params, hp, view.task.num_classes, hp["bn_mode"])


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

METHOD = Method(
  name="cfk",
  title="Catastrophic forgetting of the last k blocks",
  summary="Fine-tune only the last k blocks and the head on retain, pulled back to the original.",
  paper="Goel et al. 2022, arXiv 2201.06640",
  needs=frozenset({"retain"}),
  defaults={**DEFAULTS, "bn_mode": "eval"},
  space=SPACE,
  amended=AMENDED,
  choices={"bn_mode": ("eval", "train")},
  dead=DEAD,
  prepare=prepare,
  phases=lambda hp: (anchored_fine_tuning(hp["bn_mode"]),),
  fidelities=(REFERENCE, FIXED),
  oddities="Eval-mode BatchNorm throughout (option bn_mode), and attention biases, which get no "
  "gradient in eval mode, stay as they are; 'fixed' trains them. sgda_weight_decay pulls to the "
  "original, not to 0. A network without block names trains its head alone.",
)
