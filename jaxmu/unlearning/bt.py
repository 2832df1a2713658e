"""BT, bad teacher: imitate the original on retain samples, an untrained network on forget samples.

Chundawat et al., AAAI 2023, "incompetent teacher" (methods.md 5.1).
"""

import dataclasses
import inspect

import jax
import jax.numpy as jnp

from jaxmu import models
from jaxmu.data.streams import Samples
from jaxmu.errors import MethodError
from jaxmu.models.forward import EVAL_FLAGS, TRAIN_FLAGS
from jaxmu.models.resnet import ResNet18
from jaxmu.models.tinyvit import TinyViT
from jaxmu.training import Pass, Phase, adam, schedules
from jaxmu.training.losses import correct, divergence, mean
from jaxmu.training.method import BS, EP, LR, TEMP, TEMP_FIXED, WD, Method
from jaxmu.training.phase import Report

REFERENCE_NETWORKS = (ResNet18, TinyViT)  # their bad teacher is a ResNet-18 unless asked otherwise


def prepare(key, variables, view, hp):
  """Ask both teachers once, in eval mode: their answers are constants of the run.

  Returns:
    The variables, and teachers' logits by position in the data set, [N, C]: the original's on
    retain, the bad teacher's on forget samples.
  """
  module = bad_module(view.task.module, view.task.num_classes, hp["bad_teacher"])
  bad, task = bad_variables(key, module, view), dataclasses.replace(view.task, module=module)
  good_logits = view.logits(variables, "retain", hp["batch_size"])
  bad_logits = view.logits(bad, "forget", hp["batch_size"], task=task)
  return variables, view.table({"retain": good_logits, "forget": bad_logits})


def bad_module(student, num_classes, choice):
  """Return the bad teacher's network for a value of the option `bad_teacher`."""
  as_reference = choice == "auto" and isinstance(student, REFERENCE_NETWORKS)
  if choice == "resnet18" or as_reference:
    return models.make("resnet18", num_classes)
  return student


def bad_variables(key, module, view):
  """Initialise the bad teacher (BatchNorm mean 0, variance 1), or take the caller's variables."""
  x = view.fetch(Samples(view.index["forget"][:1])).x
  accepted = inspect.signature(type(module).__call__).parameters
  eval_mode = {flag: flag in EVAL_FLAGS for flag in TRAIN_FLAGS + EVAL_FLAGS if flag in accepted}

  def fresh(key):
    variables = module.init(key, x, **eval_mode)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

  given = view.draws.get("bad_teacher")
  if given is None:
    return fresh(key)
  wanted = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(fresh, key))
  if jax.tree.map(jnp.shape, given) != wanted:
    raise MethodError(
      "bt: bad_teacher must be {'params', 'batch_stats'} of a "
      f"{type(module).__name__}, with leaves of the same shapes"
    )
  return given


def loss(forward, params, batch_stats, batch, teachers, hp, key):
  """(1/C) KL_T(teacher || student; B): the mean over all |B| C entries, no T^2 (methods.md 5.1)."""
  del key
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  apart = divergence(teachers[batch.index], logits, hp["kl_temperature"])
  value = mean(apart, batch.weight) / logits.shape[-1]
  return value, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


IMITATE = Pass(
  stream="union",
  loss=loss,
  transform=lambda hp, aux: adam(hp["weight_decay"]),
  schedule=lambda hp, steps: schedules.constant(hp["learning_rate"]),
  slot="adam",
)

METHOD = Method(
  name="bt",
  title="Bad teacher",
  summary="Imitate the original on retain samples and a randomly initialised network on forget "
  "samples.",
  paper="Chundawat et al., AAAI 2023",
  needs=frozenset({"retain", "forget"}),
  defaults={
    "kl_temperature": 1.0,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "batch_size": 256,
    "num_epochs": 10,
    "bad_teacher": "auto",
  },
  space={
    "kl_temperature": TEMP,
    "learning_rate": LR,
    "weight_decay": WD,
    "batch_size": BS,
    "num_epochs": EP,
  },
  amended={"kl_temperature": TEMP_FIXED},
  choices={"bad_teacher": ("auto", "resnet18", "same")},
  limits={"kl_temperature": (1e-6, float("inf"))},
  dead=("momentum",),
  prepare=prepare,
  phases=lambda hp: (Phase("imitate teachers", (IMITATE,)),),
  prepare_samples=lambda hp, sizes: sizes["retain"] + sizes["forget"],
  oddities="The loss is a mean over samples and classes, so C times smaller than the usual KL; the "
  "student's BatchNorm runs in train mode. The reference's bad teacher is a ResNet-18 whatever the "
  "student; by default ('auto') ours is too for the reference's networks, and the student's own "
  "architecture for any other ('resnet18' and 'same' choose).",
  draws={
    "union_order": "int [n_retain + n_forget], visiting order, retain samples counted first",
    "bad_teacher": "variables {'params', 'batch_stats'} of the bad teacher",
  },
)
