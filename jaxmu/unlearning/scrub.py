"""SCRUB: a student leaves its teacher, the original, on forget and returns to it on retain.

Kurmanji et al., NeurIPS 2023, with rewinding (methods.md 5.2): of the models after each epoch, take
the one whose error on the forget set is closest to that on unseen samples of the same classes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.data import streams
from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.losses import correct, cross_entropy, divergence, mean
from jaxmu.training.method import (
  BS,
  EP,
  FIXED,
  LR,
  MOM,
  REFERENCE,
  TEMP,
  TEMP_FIXED,
  U01,
  WD,
  Distribution,
  Method,
)
from jaxmu.training.phase import Report

LONGEST = 512  # epochs whose forget errors a member's memory holds


class Original(NamedTuple):
  """What the student remembers of the original model.

  Attributes:
    logits: [N, C], eval mode, on retain and forget; NaN elsewhere.
    params: the anchor of "fixed"; () in "reference".
  """

  logits: jax.Array
  params: Any


def prepare(key, variables, view, hp):
  """Cache the teacher's logits: it never changes, and nothing is augmented."""
  del key
  logits = {
    name: view.logits(variables, name, hp[f"{name}_batch_size"]) for name in ("retain", "forget")
  }
  anchor = variables["params"] if hp["fidelity"] == FIXED else ()
  return variables, Original(view.table(logits), anchor)


def leave(forward, params, batch_stats, batch, known, hp, key):
  """-T^2 KL_T(teacher || student; B_f): move away from the original on forget samples."""
  del key
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  loss = -_distillation(logits, batch, known.aux, hp) + _pull(params, known.aux, hp)
  return loss, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


def come_back(forward, params, batch_stats, batch, known, hp, key):
  """gamma CE(B_r) + alpha T^2 KL_T(teacher || student; B_r): stay with it on retain samples."""
  del key
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  entropy = mean(cross_entropy(logits, batch.y), batch.weight)
  distillation = _distillation(logits, batch, known.aux, hp)
  loss = hp["gamma"] * entropy + hp["alpha"] * distillation + _pull(params, known.aux, hp)
  return loss, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


def _distillation(logits, batch, original, hp):
  """T^2 KL_T(teacher || student; B)."""
  values = divergence(original.logits[batch.index], logits, hp["kd_T"])
  return hp["kd_T"] ** 2 * mean(values, batch.weight)


def _pull(params, original, hp):
  """Sum of the leaves' distances to the original, times `smoothing`; "reference" has none.

  There the student is compared with itself: the term and its gradient are exactly 0.
  """
  if hp["fidelity"] == REFERENCE:
    return 0.0
  distances = jax.tree.map(lambda p, a: _norm(p - a), params, original.params)
  return hp["smoothing"] * sum(jax.tree.leaves(distances))


def _norm(x):
  """Euclidean norm with gradient 0, not NaN, at 0."""
  square = jnp.sum(jnp.square(x))
  away = square > 0
  return jnp.where(away, jnp.sqrt(jnp.where(away, square, 1)), 0)


def rate(hp, steps):
  """Learning rate of an epoch, from the step count that the two passes share.

  Epochs with a forget pass are longer than later ones, so the count is no multiple of an epoch.
  """
  del steps
  epochs, decay = hp["sgda_num_epochs"], hp["lr_decay_rate"]
  if hp["fidelity"] == FIXED:
    per_epoch = _drop_once(hp["sgda_learning_rate"], epochs, decay)
  else:
    per_epoch = schedules.drop(hp["sgda_learning_rate"], epochs, decay, steps=1, first=1)
  leaving = jnp.minimum(hp["msteps"], epochs)
  forget, retain = hp["forget_steps"], hp["retain_steps"]

  def schedule(count):
    early = count < leaving * (forget + retain)
    late_epoch = (count - leaving * forget) // retain
    return per_epoch(jnp.where(early, count // (forget + retain), late_epoch))

  return schedule


def _drop_once(learning_rate, epochs, decay):
  """Return `schedules.drop`, first=1, per epoch, whose milestones differ and are at least 1.

  With milestones 0, as in the reference, one epoch would train at learning_rate * decay^3.
  """
  milestones = jnp.asarray(epochs) * jnp.array([5, 8, 9]) // 10
  new = jnp.diff(milestones, prepend=0) > 0
  return lambda epoch: learning_rate * jnp.asarray(decay) ** jnp.sum(new & (milestones < epoch + 1))


def record(key, view, variables, errors, epoch, aux, hp):
  """Note the student's errors on the forget set before an epoch."""
  del key, aux
  return variables["params"], errors.at[epoch].set(count_errors(view, variables, "forget", hp))


def count_errors(view, variables, name, hp, among=True):
  """Count the samples of a set that the student gets wrong, eval mode: int32.

  Args:
    among: bool [n], the samples that count.
  """
  size = hp["forget_batch_size" if name == "forget" else "retain_batch_size"]
  wrong = jnp.argmax(view.logits(variables, name, size), axis=-1) != view.labels(name)
  return jnp.sum(wrong & among, dtype=jnp.int32)


def rewind(key, view, variables, errors, aux, hp):
  """Choose the first epoch i with the least |err_f[i] - err_v*|; 0 keeps the final model.

  err_f[i] is the forget error after i epochs, err_v* the final model's error on those validation
  samples whose class occurs in the forget set. No model is stored for i = 0, the original; there
  the reference returns the final one, and so do we.
  """
  del key, aux
  epochs = hp["sgda_num_epochs"]
  errors = errors.at[epochs].set(count_errors(view, variables, "forget", hp))
  occurs = jnp.zeros(view.task.num_classes, bool).at[view.labels("forget")].set(True)
  unseen = occurs[view.labels("val")]
  unseen_errors = count_errors(view, variables, "val", hp, unseen)
  # Fractions over their common denominator are whole numbers, so that ties are exact.
  n_forget, n_unseen = view.size("forget"), jnp.sum(unseen, dtype=jnp.int32)
  fits = n_forget * view.size("val") < jnp.iinfo(jnp.int32).max
  exact = lambda number: number.astype(jnp.int32 if fits else float)
  gaps = jnp.abs(exact(errors) * exact(n_unseen) - exact(unseen_errors) * n_forget)
  best = jnp.argmin(jnp.where(jnp.arange(len(errors)) <= epochs, gaps, gaps.max() + 1))
  return jnp.where(best < epochs, best, 0)


def count_steps(hp, sizes):
  """Steps of either pass, for the schedule."""
  return {
    f"{name}_steps": streams.steps(name, sizes, hp[f"{name}_batch_size"])
    for name in ("forget", "retain")
  }


def prepare_samples(hp, sizes):
  """Teacher logits, and the errors that selection compares: E + 1 times forget, once val."""
  errors = (int(hp["sgda_num_epochs"]) + 1) * sizes["forget"] + sizes["val"]
  return sizes["retain"] + sizes["forget"] + errors


def student_sgd(hp, known):
  del known
  return sgd(hp["sgda_momentum"], hp["sgda_weight_decay"])


LEAVE = Pass(
  stream="forget", loss=leave, transform=student_sgd, schedule=rate,
  batch_size="forget_batch_size", shuffle=False, epochs=lambda hp: hp["msteps"],
)  # fmt: skip
COME_BACK = Pass(
  stream="retain", loss=come_back, transform=student_sgd, schedule=rate,
  batch_size="retain_batch_size",
)  # fmt: skip
SCRUB = Phase(
  "leave and come back",
  (LEAVE, COME_BACK),
  epochs=lambda hp: hp["sgda_num_epochs"],
  memory=lambda params, aux, hp: jnp.zeros(LONGEST + 1, jnp.int32),
  before=record,
)

METHOD = Method(
  name="scrub",
  title="SCRUB with rewinding",
  summary="Distil away from the original on forget and towards it on retain, then rewind to the "
  "epoch whose forget error matches that on unseen data.",
  paper="Kurmanji et al., NeurIPS 2023",
  needs=frozenset({"retain", "forget", "val"}),
  defaults={
    "gamma": 1.0,
    "alpha": 0.5,
    "kd_T": 2.0,
    "msteps": 3,
    "sgda_num_epochs": 5,
    "sgda_learning_rate": 5e-4,
    "sgda_momentum": 0.9,
    "sgda_weight_decay": 5e-4,
    "retain_batch_size": 32,
    "forget_batch_size": 64,
    "lr_decay_rate": 0.1,
    "smoothing": 0.5,
  },
  space={
    "gamma": U01, "alpha": U01, "kd_T": TEMP, "msteps": EP, "sgda_num_epochs": EP,
    "sgda_learning_rate": LR, "sgda_momentum": MOM, "sgda_weight_decay": WD,
    "retain_batch_size": BS, "forget_batch_size": BS,
  },
  amended={
    "kd_T": TEMP_FIXED,
    "msteps": Distribution("integer", 1, None, at_most="sgda_num_epochs"),
  },
  limits={
    "kd_T": (1e-6, float("inf")), "msteps": (0, float("inf")), "sgda_num_epochs": (1, LONGEST),
  },
  dead=("beta", "batch_size"),
  prepare=prepare,
  phases=lambda hp: (SCRUB,),
  derive=count_steps,
  rewind=rewind,
  prepare_samples=prepare_samples,
  fidelities=(REFERENCE, FIXED),
  oddities="Validation samples serve to choose the epoch. Where the untouched original matches "
  "best, the final model is returned, and one epoch trains at a thousandth of the rate (reference, "
  "our default); 'fixed' counts distinct milestones from 1 and adds the anchor at the original, "
  "weighted by smoothing, which the reference computes as 0.",
)  # fmt: skip
