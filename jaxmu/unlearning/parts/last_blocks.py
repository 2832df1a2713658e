"""Fine-tuning of the last k blocks and the head, anchored to the weights that it starts from.

CF-k and EU-k share it (methods.md 3).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.models import structure
from jaxmu.settings.ranges import Range
from jaxmu.training import Pass, Phase, Report, Step, hyper, schedules
from jaxmu.training.hyper import Distribution, Hyper
from jaxmu.training.objectives import anchor_penalty, classification
from jaxmu.training.phase import Array, Hp, Modes, Options, Tree
from jaxmu.training.task import Batch
from jaxmu.unlearning.parts.gates import gate_updates, has_gradient

HYPER = {
  "num_blocks": Hyper(
    1, Range(1, 1000), Distribution("integer", 1, 10), Distribution("integer", 1, 4)
  ),
  "learning_rate": hyper.rate(0.01),
  "sgda_decay_rate": hyper.share(0.1),
  "sgda_weight_decay": hyper.decay(0.1),
  "batch_size": hyper.batch(256),
  "num_epochs": hyper.epochs(10),
  "sgda_learning_rate": hyper.DEAD,
  "momentum": hyper.DEAD,
  "training_epoch_factor": hyper.DEAD,
}


class Anchored(NamedTuple):
  """What anchored fine-tuning knows: two trees like params.

  Attributes:
    anchor: the weights that it starts from and is pulled back to.
    trainable: bool per leaf, True for those that move.
  """

  anchor: Tree
  trainable: Tree


def first_block(params: Tree, hp: Hp) -> Array:
  """Return the number of the first trainable block; block 0, before the blocks, never is."""
  return jnp.maximum(structure.num_blocks(params) + 1 - hp["num_blocks"], 1)


def last_blocks(params: Tree, hp: Hp, num_classes: int) -> Tree:
  """Return F_k, a bool per leaf: True in the last k blocks and in the head; k may be traced."""
  first = first_block(params, hp)
  inside = lambda leaf: ((leaf.block or 0) >= first) | leaf.head
  return jax.tree.map(inside, structure.describe(params, num_classes))


def inert(module: Any, params: Tree, options: Options) -> str:
  """Look for blocks by their names."""
  some = structure.num_blocks(params) > 0
  return "" if some else "blocks (modules stage1, stage2, ...), and trains the head alone"


def anchored(params: Tree, step: Step, batch_norm: str) -> Anchored:
  """Start from `params`, with the last k blocks and the head trainable."""
  num_classes = step.options["num_classes"]
  inside = last_blocks(params, step.hp, num_classes)
  moving = lambda leaf, gate: gate & has_gradient(leaf, step.options, batch_norm)
  return Anchored(params, jax.tree.map(moving, structure.describe(params, num_classes), inside))


def anchored_fine_tuning(
  options: Options, batch_norm: str | Modes, augment: bool = False
) -> tuple[Phase, ...]:
  """Plain SGD on CE(B_r) + (omega/2) ||theta - theta_a||^2, rate dropped per epoch."""
  step = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=anchored_loss,
    transform=lambda step: gate_updates(step.aux.trainable),
    schedule=lambda hp, steps: schedules.drop(
      hp["learning_rate"], hp["num_epochs"], hp["sgda_decay_rate"], steps
    ),
    batch_norm=batch_norm,
    augment=augment,
  )
  return (Phase("anchored fine-tuning", (step,)),)


def anchored_loss(
  params: Tree, batch_stats: Tree, batch: Batch, step: Step
) -> tuple[Array, Report]:
  """CE(B_r) + (omega/2) ||theta - theta_a||^2; what is called a weight decay is omega."""
  loss, reported = classification(params, batch_stats, batch, step)
  return loss + anchor_penalty(step.hp["sgda_weight_decay"], params, step.aux.anchor), reported
