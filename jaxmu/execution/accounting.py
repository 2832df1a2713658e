"""How many samples a method reads: what run-time efficiency is computed from (evaluation.md 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmu.data import streams
from jaxmu.training import Pass, Phase
from jaxmu.training.method import Method, Sizes
from jaxmu.training.phase import Options

Hp = Mapping[str, Any]  # one member's hyper-parameters, Python numbers


def epoch_samples(phase: Phase, sizes: Sizes, epoch: int, hp: Hp) -> int:
  """Count the samples of one epoch, without the passes that are over by then."""
  passes = [p for p in phase.passes if p.epochs is None or epoch < p.epochs(hp)]
  return sum(streams.visits(p.stream, sizes, p.batch_size) for p in passes)


def steps(method: Method, phases: Sequence[Phase], hp: Hp, sizes: Sizes) -> int:
  """Count the optimizer steps of one member."""
  hp = {**hp, **method.derive(hp, sizes)}
  each = [(_epochs(phase, p, hp), p) for phase in phases for p in phase.passes]
  return sum(
    p.budget(hp) if p.budget else epochs * streams.steps(p.stream, sizes, p.batch_size)
    for epochs, p in each
  )


def sample_passes(
  method: Method, phases: Sequence[Phase], hp: Hp, sizes: Sizes, options: Options
) -> float:
  """Return equivalent sample-passes of one member: 3 per sample trained on (evaluation.md 5)."""
  hp = {**hp, **method.derive(hp, sizes)}
  trained = sum(_pass_samples(phase, p, hp, sizes) for phase in phases for p in phase.passes)
  return float(method.prepare_samples(hp, sizes, options) + 3 * trained)


def _epochs(phase: Phase, p: Pass, hp: Hp) -> int:
  """Count the epochs that include a pass."""
  epochs = int(phase.epochs(hp))
  return epochs if p.epochs is None else min(epochs, int(p.epochs(hp)))


def _pass_samples(phase: Phase, p: Pass, hp: Hp, sizes: Sizes) -> int:
  """Count the samples that a pass reads in all epochs of its phase."""
  visits = streams.visits(p.stream, sizes, p.batch_size)
  if p.budget is None:
    return _epochs(phase, p, hp) * visits
  rounds, left = divmod(p.budget(hp), streams.steps(p.stream, sizes, p.batch_size))
  return rounds * visits + min(left * p.batch_size, visits)


def work(
  method: Method, hp: Hp, sizes: Sizes, *, fidelity: str, num_classes: int
) -> tuple[int, float]:
  """Return optimizer steps and equivalent sample-passes of one member, without compiling anything.

  Args:
    hp: complete hyper-parameters.
    sizes: samples by set.
  """
  options = {name: hp[name] for name in method.static}
  options |= {"fidelity": method.resolve_fidelity(fidelity), "num_classes": num_classes}
  phases = method.phases(options)
  return steps(method, phases, hp, sizes), sample_passes(method, phases, hp, sizes, options)
