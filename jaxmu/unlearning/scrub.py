"""SCRUB: a student leaves its teacher, the original, on forget and returns to it on retain.

Kurmanji et al., NeurIPS 2023, with rewinding (methods.md 5.2): of the models after each epoch, take
the one whose error on the forget set is closest to that on unseen samples of the same classes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.data import streams
from jaxmu.settings.ranges import EPOCHS, NOT_NEGATIVE, Range
from jaxmu.training import Pass, Phase, Report, Step, View, heavy_ball, hyper, schedules
from jaxmu.training.hyper import Distribution, Hyper
from jaxmu.training.losses import cross_entropy, divergence, mean
from jaxmu.training.method import FIXED, REFERENCE, Method, Sizes
from jaxmu.training.objectives import report
from jaxmu.training.phase import Array, Hp, Options, Rate, Tree, Variables
from jaxmu.training.schedules import Schedule
from jaxmu.training.task import Batch

UNIFORM = Distribution("uniform", 0.0, 1.0)
LONGEST = 512  # epochs whose forget errors a member's memory holds


class Original(NamedTuple):
  """What the student remembers of the original model.

  Attributes:
    logits: [N, C], eval mode, on retain and forget; NaN elsewhere.
    params: the anchor of "fixed"; () in "reference".
  """

  logits: jax.Array
  params: Any


def prepare(variables: Variables, step: Step) -> tuple[Variables, Original]:
  """Cache the teacher's logits: it never changes, and nothing is augmented."""
  view, options = step.view, step.options
  logits = {
    name: view.logits(variables, name, options[f"{name}_batch_size"])
    for name in ("retain", "forget")
  }
  anchor = variables["params"] if options["fidelity"] == FIXED else ()
  return variables, Original(view.table(logits), anchor)


def leave(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """-T^2 KL_T(teacher || student; B_f): move away from the original on forget samples."""
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  loss = -_distillation(logits, batch, step) + _pull(params, step)
  return loss, report(batch_stats, logits, batch.y, batch)


def come_back(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """gamma CE(B_r) + alpha T^2 KL_T(teacher || student; B_r): stay with it on retain samples."""
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  entropy = mean(cross_entropy(logits, batch.y), batch.weight)
  distillation = _distillation(logits, batch, step)
  loss = step.hp["gamma"] * entropy + step.hp["alpha"] * distillation + _pull(params, step)
  return loss, report(batch_stats, logits, batch.y, batch)


def _distillation(logits: Array, batch: Batch, step: Step) -> Array:
  """T^2 KL_T(teacher || student; B)."""
  temperature = step.hp["kd_T"]
  values = divergence(step.aux.logits[batch.index], logits, temperature)
  return temperature**2 * mean(values, batch.weight)


def _pull(params: Tree, step: Step) -> Array | float:
  """Sum of the leaves' distances to the original, times `smoothing`; "reference" has none.

  There the student is compared with itself: the term and its gradient are exactly 0.
  """
  if step.options["fidelity"] == REFERENCE:
    return 0.0
  distances = jax.tree.map(lambda p, a: _norm(p - a), params, step.aux.params)
  return step.hp["smoothing"] * sum(jax.tree.leaves(distances))


def _norm(x: Array) -> Array:
  """Euclidean norm with gradient 0, not NaN, at 0."""
  square = jnp.sum(jnp.square(x))
  away = square > 0
  return jnp.where(away, jnp.sqrt(jnp.where(away, square, 1)), 0)


def rate_of_epoch(options: Options) -> Rate:
  """Learning rate of an epoch, from the step count that the two passes share.

  Epochs with a forget pass are longer than later ones, so the count is no multiple of an epoch.
  """

  def rate(hp: Hp, steps: int) -> Schedule:
    epochs, decay = hp["sgda_num_epochs"], hp["lr_decay_rate"]
    if options["fidelity"] == FIXED:
      per_epoch = _drop_once(hp["sgda_learning_rate"], epochs, decay)
    else:
      per_epoch = schedules.drop(hp["sgda_learning_rate"], epochs, decay, steps=1, first=1)
    leaving = jnp.minimum(hp["msteps"], epochs)
    forget, retain = hp["forget_steps"], hp["retain_steps"]

    def schedule(count: Array) -> Array:
      early = count < leaving * (forget + retain)
      late_epoch = (count - leaving * forget) // retain
      return per_epoch(jnp.where(early, count // (forget + retain), late_epoch))

    return schedule

  return rate


def _drop_once(learning_rate: Array, epochs: Any, decay: Array) -> Schedule:
  """Return `schedules.drop`, first=1, per epoch, whose milestones differ and are at least 1.

  With milestones 0, as in the reference, one epoch would train at learning_rate * decay^3.
  """
  epochs = jnp.asarray(epochs)
  milestones = epochs * jnp.array([5, 8, 9], epochs.dtype) // 10
  new = jnp.diff(milestones, prepend=jnp.zeros((), epochs.dtype)) > 0

  def schedule(epoch: Array) -> Array:
    passed = jnp.sum(new & (milestones < jnp.asarray(epoch + 1, milestones.dtype)))
    return learning_rate * schedules.real(decay) ** schedules.real(passed)

  return schedule


def record(variables: Variables, step: Step) -> tuple[Tree, Array]:
  """Note the student's errors on the forget set before an epoch."""
  errors = count_errors(variables, "forget", step)
  return variables["params"], step.memory.at[step.epoch].set(errors)


def count_errors(variables: Variables, name: str, step: Step, among: Array | bool = True) -> Array:
  """Count the samples of a set that the student gets wrong, eval mode: int32.

  Args:
    among: bool [n], the samples that count.
  """
  view = step.view
  size = step.options["forget_batch_size" if name == "forget" else "retain_batch_size"]
  labels = view.labels(name)
  wrong = jnp.argmax(view.logits(variables, name, size), axis=-1).astype(labels.dtype) != labels
  if view.ragged:
    wrong &= view.real(name)
  return jnp.sum(wrong & among, dtype=jnp.int32)


def rewind(variables: Variables, step: Step) -> Array:
  """Choose the first epoch i with the least |err_f[i] - err_v*|; 0 keeps the final model.

  err_f[i] is the forget error after i epochs, err_v* the final model's error on those validation
  samples whose class occurs in the forget set. No model is stored for i = 0, the original; there
  the reference returns the final one, and so do we.
  """
  view, epochs = step.view, step.hp["sgda_num_epochs"]
  errors = step.memory.at[epochs].set(count_errors(variables, "forget", step))
  n_forget, unseen = view.count("forget"), of_forget_classes(view, step.options["num_classes"])
  unseen_errors = count_errors(variables, "val", step, unseen)
  # Fractions over their common denominator are whole numbers, so that ties are exact.
  n_unseen = jnp.sum(unseen, dtype=jnp.int32)
  fits = view.size("forget") * view.size("val") < jnp.iinfo(jnp.int32).max
  exact = lambda number: number.astype(jnp.int32 if fits else float)
  if view.ragged:
    n_forget = exact(n_forget)
  gaps = jnp.abs(exact(errors) * exact(n_unseen) - exact(unseen_errors) * n_forget)
  best = jnp.argmin(
    jnp.where(jnp.arange(len(errors), dtype=jnp.int32) <= epochs, gaps, gaps.max() + 1)
  )
  best = best.astype(jnp.int32)
  return jnp.where(best < epochs, best, 0)


def of_forget_classes(view: View, num_classes: int) -> Array:
  """Tell which validation samples are of a class that occurs in the forget set, bool [n]."""
  occurs, labels = jnp.zeros(num_classes, bool), view.labels("forget")
  if not view.ragged:
    return occurs.at[labels].set(True)[view.labels("val")]
  occurs = occurs.at[labels].max(view.real("forget"))
  return occurs[view.labels("val")] & view.real("val")


def count_steps(hp: Mapping[str, Any], sizes: Sizes) -> dict[str, int]:
  """Steps of either pass, for the schedule."""
  return {
    f"{name}_steps": streams.steps(name, sizes, hp[f"{name}_batch_size"])
    for name in ("forget", "retain")
  }


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Teacher logits, and the errors that selection compares: E + 1 times forget, once val."""
  errors = (int(hp["sgda_num_epochs"]) + 1) * sizes["forget"] + sizes["val"]
  return sizes["retain"] + sizes["forget"] + errors


def phases(options: Options) -> tuple[Phase, ...]:
  """Leave in the first epochs, come back in all; the passes share an optimizer."""
  student_sgd = lambda step: heavy_ball(step, "sgda_")
  leaving = Pass(
    stream="forget",
    batch_size=options["forget_batch_size"],
    loss=leave,
    transform=student_sgd,
    schedule=rate_of_epoch(options),
    shuffle=False,
    epochs=lambda hp: hp["msteps"],
  )
  coming_back = Pass(
    stream="retain",
    batch_size=options["retain_batch_size"],
    loss=come_back,
    transform=student_sgd,
    schedule=rate_of_epoch(options),
  )
  phase = Phase(
    "leave and come back",
    (leaving, coming_back),
    epochs=lambda hp: hp["sgda_num_epochs"],
    memory=lambda params, step: jnp.zeros(LONGEST + 1, jnp.int32),
    before=record,
  )
  return (phase,)


METHOD = Method(
  name="scrub",
  label="SCRUB",
  title="SCRUB with rewinding",
  summary="Distil away from the original on forget and towards it on retain, then rewind to the "
  "epoch whose forget error matches that on unseen data.",
  paper="Kurmanji et al., NeurIPS 2023",
  needs=frozenset({"retain", "forget", "val"}),
  hyper={
    "gamma": Hyper(1.0, NOT_NEGATIVE, UNIFORM),
    "alpha": Hyper(0.5, NOT_NEGATIVE, UNIFORM),
    "kd_T": hyper.temperature(2.0),
    "msteps": hyper.epochs(
      3,
      within=Range(0, EPOCHS.high),
      amended=Distribution("integer", 1, None, at_most="sgda_num_epochs"),
    ),
    "sgda_num_epochs": hyper.epochs(5, within=Range(1, LONGEST)),
    "sgda_learning_rate": hyper.rate(5e-4),
    "sgda_momentum": hyper.mom(0.9),
    "sgda_weight_decay": hyper.decay(5e-4),
    "retain_batch_size": hyper.batch(32),
    "forget_batch_size": hyper.batch(64),
    "lr_decay_rate": Hyper(0.1, NOT_NEGATIVE),
    "smoothing": Hyper(0.5, NOT_NEGATIVE),
    "beta": hyper.DEAD,
    "batch_size": hyper.DEAD,
  },
  prepare=prepare,
  phases=phases,
  derive=count_steps,
  rewind=rewind,
  prepare_samples=work,
  fidelities=(REFERENCE, FIXED),
  oddities="Validation samples serve to choose the epoch. Where the untouched original matches "
  "best, the final model is returned, and one epoch trains at a thousandth of the rate (reference, "
  "our default); 'fixed' counts distinct milestones from 1 and adds the anchor at the original, "
  "weighted by smoothing, which the reference computes as 0.",
)
