"""NG+, negative gradient plus: descend on retain and ascend on forget in the same step."""

import optax

from jaxmu.models import structure
from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.method import COMMON, FIXED, REFERENCE, U01, Method
from jaxmu.training.objectives import anchor_penalty, classification
from jaxmu.unlearning.parts.gates import gate_updates, moves


def prepare(key, variables, view, hp):
  """Keep the original's weights as the anchor."""
  del key, view, hp
  return variables, variables["params"]


def loss(forward, params, batch_stats, batch, anchor, hp, key):
  """alpha [CE(B_r) + (omega/2) ||theta - theta_a||^2] - (1 - alpha) CE(B_f) (methods.md 2.4).

  Two forward passes; in train mode BatchNorm's statistics move on retain, then on forget samples.
  """
  retain, first = classification(forward, params, batch_stats, batch.retain, anchor, hp, key)
  forget, last = classification(forward, params, first.batch_stats, batch.forget, anchor, hp, key)
  retain = retain + anchor_penalty(hp["anchor"], params, anchor)
  return hp["alpha"] * retain - (1 - hp["alpha"]) * forget, last._replace(accuracy=first.accuracy)


def transform(hp, anchor):
  """SGD on all leaves that the fidelity lets move."""
  gates = structure.mask(anchor, lambda leaf: moves(leaf, hp, hp["bn_mode"]))
  return optax.chain(sgd(hp["momentum"], hp["weight_decay"]), gate_updates(gates))


def descend_and_ascend(batch_norm: str) -> Pass:
  return Pass(
    stream="zip_cycle",
    loss=loss,
    transform=transform,
    schedule=lambda hp, steps: schedules.constant(hp["learning_rate"]),
    batch_norm=batch_norm,
  )


METHOD = Method(
  name="ngplus",
  title="Negative gradient plus",
  summary="Descend on retain and ascend on forget batches in one step, BatchNorm frozen.",
  paper="Kurmanji et al., NeurIPS 2023",
  needs=frozenset({"retain", "forget"}),
  defaults={
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "batch_size": 256,
    "num_epochs": 10,
    "alpha": 0.95,
    "anchor": 0.0,
    "bn_mode": "eval",
  },
  space={**COMMON, "alpha": U01},
  limits={"alpha": (0, 1)},
  choices={"bn_mode": ("eval", "train")},
  prepare=prepare,
  phases=lambda hp: (Phase("descend and ascend", (descend_and_ascend(hp["bn_mode"]),)),),
  fidelities=(REFERENCE, FIXED),
  oddities="Eval-mode BatchNorm throughout (option bn_mode), and attention biases, which get no "
  "gradient in eval mode, stay as they are; 'fixed' trains them. The anchor penalty is a constant "
  "0 in the reference and an option here.",
)
