"""KDE, knowledge distillation: reset both ends, imitate the original on validation, then on retain.

Solution 6 of the NeurIPS 2023 unlearning challenge (methods.md 6.6).
"""

import jax.numpy as jnp

from jaxmu import models
from jaxmu.models import structure
from jaxmu.training import Pass, Phase, Report, Step, heavy_ball, hyper, schedules
from jaxmu.training.losses import cross_entropy, divergence, entropy, mean
from jaxmu.training.method import Method, Sizes
from jaxmu.training.objectives import report
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.training.task import Batch
from jaxmu.unlearning.parts import draws

COLDEST = 0.1  # temperatures below are raised to this: logits / T would overflow


def prepare(variables: Variables, step: Step) -> tuple[Variables, Array]:
  """Cache the original's logits as the teacher, [N, C]; reset the stem convolution and the head."""
  view, batch_size = step.view, step.options["batch_size"]
  logits = {name: view.logits(variables, name, batch_size) for name in ("retain", "val")}
  params, has_stem = variables["params"], models.stem_is_a_layer(view.task.module)
  at_an_end = lambda leaf: leaf.head or (leaf.stem and has_stem)
  ends = structure.mask(params, at_an_end, num_classes=step.options["num_classes"])
  params = draws.renew(step.key, view, "kde", params, ends)
  return {**variables, "params": params}, view.table(logits)


def warm_up(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """KL_T(teacher || student; B_v). Reports agreement with the teacher: labels are not used."""
  answers = step.aux[batch.index]
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  loss = mean(divergence(answers, logits, temperature(step.hp)), batch.weight)
  return loss, report(batch_stats, logits, jnp.argmax(answers, axis=-1), batch)


def fine_tune(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """CE(B_r) + SCE_T + KL_T(teacher || student; B_r), without factors T^2.

  SCE_T, the cross-entropy with the teacher's softened answers, is KL_T plus the teacher's entropy,
  so that the gradient is that of CE + 2 KL_T.
  """
  answers, t = step.aux[batch.index], temperature(step.hp)
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  apart = divergence(answers, logits, t)
  soft = apart + entropy(answers * (1 / t))
  loss = mean(cross_entropy(logits, batch.y) + soft + apart, batch.weight)
  return loss, report(batch_stats, logits, batch.y, batch)


def temperature(hp: Hp) -> Array:
  """Return the temperature that is used."""
  return jnp.maximum(hp["temperature"], COLDEST)


def phases(options: Options) -> tuple[Phase, ...]:
  """Warm up on validation samples, then distil on retain."""
  warming = Pass(
    stream="val",
    batch_size=options["batch_size"],
    loss=warm_up,
    transform=heavy_ball,
    schedule=schedules.constant_rate,
  )
  tuning = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=fine_tune,
    transform=lambda step: heavy_ball(step, "retain_optimizer_"),
    schedule=lambda hp, steps: schedules.cosine(
      hp["retain_optimizer_learning_rate"], hp["retain_num_epochs"], steps
    ),
  )
  return (
    Phase("warm-up on validation", (warming,)),
    Phase("distil on retain", (tuning,), epochs=lambda hp: hp["retain_num_epochs"]),
  )


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Count the teacher's answers."""
  return sizes["retain"] + sizes["val"]


METHOD = Method(
  name="kde",
  label="KDE",
  title="Knowledge distillation",
  summary="Reset the first convolution and the head, distil the original into the rest on "
  "validation samples, then fine-tune on retain with distillation.",
  paper="NeurIPS 2023 unlearning challenge, rank 6",
  needs=frozenset({"retain", "val"}),
  hyper={
    "num_epochs": hyper.epochs(3),
    "learning_rate": hyper.rate(9e-4),
    "momentum": hyper.mom(0.9),
    "weight_decay": hyper.decay(5e-4),
    "retain_num_epochs": hyper.epochs(3),
    "retain_optimizer_learning_rate": hyper.rate(1e-3),
    "retain_optimizer_momentum": hyper.mom(0.9),
    "retain_optimizer_weight_decay": hyper.decay(5e-4),
    "temperature": hyper.temperature(5.0),
    "batch_size": hyper.batch(64),
  },
  prepare=prepare,
  phases=phases,
  prepare_samples=work,
  oddities="Trains on validation images (through the teacher's answers; their labels are not "
  "read), which attacks use as unseen data as well: validation scores of this method are not "
  "comparable. Distillation terms carry no factor T^2; temperatures below 0.1 are raised to it. "
  "TinyViT's stem is not reset.",
  draws={"fresh": "tree like params; its stem kernel and head leaves replace the drawn ones"},
)
