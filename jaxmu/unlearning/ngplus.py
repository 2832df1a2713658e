"""NG+, negative gradient plus: descend on retain and ascend on forget in the same step."""

from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.losses import correct, cross_entropy, mean
from jaxmu.training.phase import Report
from jaxmu.unlearning.method import COMMON, U01, Method


def loss(forward, params, batch_stats, batch, aux, hp, key):
  """alpha CE(B_r) - (1 - alpha) CE(B_f), two forwards with frozen BatchNorm (methods.md 2.4)."""
  del aux, key
  retain, accuracy = _classify(forward, params, batch_stats, batch.retain)
  forget, _ = _classify(forward, params, batch_stats, batch.forget)
  return hp["alpha"] * retain - (1 - hp["alpha"]) * forget, Report(batch_stats, accuracy)


def _classify(forward, params, batch_stats, batch):
  """Cross-entropy and accuracy; frozen BatchNorm makes padded samples harmless."""
  logits, _ = forward(params, batch_stats, batch.x, batch.weight)
  loss = mean(cross_entropy(logits, batch.y), batch.weight)
  return loss, mean(correct(logits, batch.y), batch.weight)


DESCEND_AND_ASCEND = Pass(
  stream="zip_cycle",
  loss=loss,
  transform=lambda hp, aux: sgd(hp["momentum"], hp["weight_decay"]),
  schedule=lambda hp, steps: schedules.constant(hp["learning_rate"]),
  batch_norm="eval",
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
  },
  space={**COMMON, "alpha": U01},
  limits={"alpha": (0, 1)},
  phases=lambda hp: (Phase("descend and ascend", (DESCEND_AND_ASCEND,)),),
  oddities="Eval-mode BatchNorm throughout; the reference's anchor penalty is a constant 0 and "
  "left out.",
)
