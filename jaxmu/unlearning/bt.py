"""BT, bad teacher: imitate the original on retain samples, an untrained network on forget samples.

Chundawat et al., AAAI 2023, "incompetent teacher" (methods.md 5.1).
"""

import dataclasses
import inspect
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmu import models
from jaxmu.data.streams import Samples
from jaxmu.errors import MethodError
from jaxmu.models.forward import EVAL_FLAGS, TRAIN_FLAGS
from jaxmu.training import Pass, Phase, Report, Step, View, adam, hyper, schedules
from jaxmu.training.anchors import UNION_ORDER
from jaxmu.training.losses import divergence, mean
from jaxmu.training.method import Method, Sizes
from jaxmu.training.objectives import report
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.training.task import Batch


def prepare(variables: Variables, step: Step) -> tuple[Variables, Array]:
  """Ask both teachers once, in eval mode: their answers are constants of the run.

  Returns:
    The variables, and teachers' logits by position in the data set, [N, C]: the original's on
    retain, the bad teacher's on forget samples.
  """
  view, options = step.view, step.options
  module = bad_module(view.task.module, options["num_classes"], options["bad_teacher"])
  bad = bad_variables(step.key, module, view, variables)
  task = dataclasses.replace(view.task, module=module)
  good_logits = view.logits(variables, "retain", options["batch_size"])
  bad_logits = view.logits(bad, "forget", options["batch_size"], task=task)
  return variables, view.table({"retain": good_logits, "forget": bad_logits})


def bad_module(student: nn.Module, num_classes: int, choice: str) -> nn.Module:
  """Return the bad teacher's network for a value of the option `bad_teacher`."""
  as_reference = choice == "auto" and models.in_the_reference(student)
  if choice == "resnet18" or as_reference:
    return models.make("resnet18", num_classes)
  return student


def bad_variables(
  key: Array, module: nn.Module, view: View, student: Variables | None = None
) -> Variables:
  """Initialise the bad teacher (BatchNorm mean 0, variance 1), or take the caller's variables.

  Args:
    student: variables whose form the caller's have where the network is the student's own.
  """
  x = view.fetch(Samples(view.index["forget"][:1])).x
  accepted = inspect.signature(type(module).__call__).parameters
  eval_mode: dict[str, Any] = {
    flag: flag in EVAL_FLAGS for flag in TRAIN_FLAGS + EVAL_FLAGS if flag in accepted
  }

  def fresh(key: Array) -> Variables:
    variables = module.init(key, x, **eval_mode)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

  given = view.draws.get("bad_teacher")
  if given is None:
    return fresh(key)
  own = student is not None and module is view.task.module
  wanted = jax.tree.map(jnp.shape, student if own else jax.eval_shape(fresh, key))
  if jax.tree.map(jnp.shape, given) != wanted:
    raise MethodError(
      "bt: bad_teacher must be {'params', 'batch_stats'} of a "
      f"{type(module).__name__}, with leaves of the same shapes"
    )
  return given


def loss(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """(1/C) KL_T(teacher || student; B): the mean over all |B| C entries, no T^2 (methods.md 5.1)."""
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  apart = divergence(step.aux[batch.index], logits, step.hp["kl_temperature"])
  value = mean(apart, batch.weight) / logits.shape[-1]
  return value, report(batch_stats, logits, batch.y, batch)


def phases(options: Options) -> tuple[Phase, ...]:
  """Imitate the teachers with Adam at a constant rate."""
  imitate = Pass(
    stream="union",
    batch_size=options["batch_size"],
    loss=loss,
    transform=lambda step: adam(step.hp["weight_decay"]),
    schedule=schedules.constant_rate,
    slot="adam",
  )
  return (Phase("imitate teachers", (imitate,)),)


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Count the teachers' answers."""
  return sizes["retain"] + sizes["forget"]


METHOD = Method(
  name="bt",
  label="BT",
  title="Bad teacher",
  summary="Imitate the original on retain samples and a randomly initialised network on forget "
  "samples.",
  paper="Chundawat et al., AAAI 2023",
  needs=frozenset({"retain", "forget"}),
  hyper={
    "kl_temperature": hyper.temperature(1.0),
    "learning_rate": hyper.rate(0.01),
    "weight_decay": hyper.decay(0.0),
    "batch_size": hyper.batch(256),
    "num_epochs": hyper.epochs(10),
    "bad_teacher": hyper.option("auto", "auto", "resnet18", "same"),
    "momentum": hyper.DEAD,
  },
  prepare=prepare,
  phases=phases,
  prepare_samples=work,
  oddities="The loss is a mean over samples and classes, so C times smaller than the usual KL; the "
  "student's BatchNorm runs in train mode. The reference's bad teacher is a ResNet-18 whatever the "
  "student; by default ('auto') ours is too for the reference's networks, and the student's own "
  "architecture for any other ('resnet18' and 'same' choose).",
  draws={
    "union_order": UNION_ORDER,
    "bad_teacher": "variables {'params', 'batch_stats'} of the bad teacher",
  },
)
