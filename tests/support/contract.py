"""What a method's functions get, made by hand: one `Step`, for tests that call them directly."""

from jaxmu.training import Step
from jaxmu.training.hyper import Hyper

STATIC = frozenset({"batch_size", "retain_batch_size", "forget_batch_size", "num_classes"})


def options(hp, **more):
  """Return the static part of hyper-parameters: batch sizes, text and booleans."""
  static = lambda name, value: name in STATIC or isinstance(value, bool | str)
  return {name: value for name, value in {**hp, **more}.items() if static(name, value)}


def step(hp=None, view=None, **known):
  """Return the step of one model; `hp` may hold static values, too, "fidelity" among them.

  Args:
    view: its task tells the number of classes.
    known: key, aux, memory, epoch, forward.
  """
  hp = {"fidelity": "reference", **(hp or {})}
  if view is not None:
    hp = {"num_classes": view.task.num_classes, **hp}
  fixed = options(hp)
  traced = {name: value for name, value in hp.items() if name not in fixed}
  return Step(traced, fixed, view, **known)


def plain(values):
  """Declare hyper-parameters of a method that a test makes up: name -> default, any number."""
  static = lambda name, value: name in STATIC or isinstance(value, bool | str)
  return {name: Hyper(value, static=static(name, value)) for name, value in values.items()}
