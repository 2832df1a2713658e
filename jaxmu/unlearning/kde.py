"""KDE, knowledge distillation: reset both ends, imitate the original on validation, then on retain.

Solution 6 of the NeurIPS 2023 unlearning challenge (methods.md 6.6).
"""

import jax.numpy as jnp

from jaxmu.models import structure
from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.losses import correct, cross_entropy, divergence, entropy, mean
from jaxmu.training.method import BS, EP, LR, MOM, TEMP, TEMP_FIXED, WD, Method
from jaxmu.training.phase import Report
from jaxmu.unlearning.parts import draws
from jaxmu.unlearning.parts.gates import stem_is_a_layer

COLDEST = 0.1  # temperatures below are raised to this: logits / T would overflow


def prepare(key, variables, view, hp):
  """Cache the original's logits as the teacher, [N, C]; reset the stem convolution and the head."""
  logits = {name: view.logits(variables, name, hp["batch_size"]) for name in ("retain", "val")}
  params, has_stem = variables["params"], stem_is_a_layer(view.task.module)
  ends = structure.mask(
    params, lambda leaf: leaf.head or (leaf.stem and has_stem), num_classes=view.task.num_classes
  )
  params = draws.renew(key, view, "kde", params, ends)
  return {**variables, "params": params}, view.table(logits)


def warm_up(forward, params, batch_stats, batch, teacher, hp, key):
  """KL_T(teacher || student; B_v). Reports agreement with the teacher: labels are not used."""
  del key
  answers = teacher[batch.index]
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  loss = mean(divergence(answers, logits, temperature(hp)), batch.weight)
  agreement = correct(logits, jnp.argmax(answers, axis=-1))
  return loss, Report(batch_stats, mean(agreement, batch.weight))


def fine_tune(forward, params, batch_stats, batch, teacher, hp, key):
  """CE(B_r) + SCE_T + KL_T(teacher || student; B_r), without factors T^2.

  SCE_T, the cross-entropy with the teacher's softened answers, is KL_T plus the teacher's entropy,
  so that the gradient is that of CE + 2 KL_T.
  """
  del key
  answers, t = teacher[batch.index], temperature(hp)
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  apart = divergence(answers, logits, t)
  soft = apart + entropy(answers * (1 / t))
  loss = mean(cross_entropy(logits, batch.y) + soft + apart, batch.weight)
  return loss, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


def temperature(hp):
  return jnp.maximum(hp["temperature"], COLDEST)


WARM_UP = Pass(
  stream="val",
  loss=warm_up,
  transform=lambda hp, aux: sgd(hp["momentum"], hp["weight_decay"]),
  schedule=lambda hp, steps: schedules.constant(hp["learning_rate"]),
)
FINE_TUNE = Pass(
  stream="retain",
  loss=fine_tune,
  transform=lambda hp, aux: sgd(
    hp["retain_optimizer_momentum"], hp["retain_optimizer_weight_decay"]
  ),
  schedule=lambda hp, steps: schedules.cosine(
    hp["retain_optimizer_learning_rate"], hp["retain_num_epochs"], steps
  ),
)

METHOD = Method(
  name="kde",
  title="Knowledge distillation",
  summary="Reset the first convolution and the head, distil the original into the rest on "
  "validation samples, then fine-tune on retain with distillation.",
  paper="NeurIPS 2023 unlearning challenge, rank 6",
  needs=frozenset({"retain", "val"}),
  defaults={
    "num_epochs": 3,
    "learning_rate": 9e-4,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "retain_num_epochs": 3,
    "retain_optimizer_learning_rate": 1e-3,
    "retain_optimizer_momentum": 0.9,
    "retain_optimizer_weight_decay": 5e-4,
    "temperature": 5.0,
    "batch_size": 64,
  },
  space={
    "num_epochs": EP, "learning_rate": LR, "momentum": MOM, "weight_decay": WD,
    "retain_num_epochs": EP, "retain_optimizer_learning_rate": LR,
    "retain_optimizer_momentum": MOM, "retain_optimizer_weight_decay": WD,
    "temperature": TEMP, "batch_size": BS,
  },
  amended={"temperature": TEMP_FIXED},
  prepare=prepare,
  phases=lambda hp: (
    Phase("warm-up on validation", (WARM_UP,)),
    Phase("distil on retain", (FINE_TUNE,), epochs=lambda hp: hp["retain_num_epochs"]),
  ),
  prepare_samples=lambda hp, sizes: sizes["retain"] + sizes["val"],
  oddities="Trains on validation images (through the teacher's answers; their labels are not "
  "read), which attacks use as unseen data as well: validation scores of this method are not "
  "comparable. Distillation terms carry no factor T^2; temperatures below 0.1 are raised to it. "
  "TinyViT's stem is not reset.",
  draws={"fresh": "tree like params; its stem kernel and head leaves replace the drawn ones"},
)  # fmt: skip
