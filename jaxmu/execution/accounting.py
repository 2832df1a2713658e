"""How many samples a method reads: what run-time efficiency is computed from (evaluation.md 5)."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxmu.data import streams
from jaxmu.training import Pass, Phase
from jaxmu.training.epoch import NO_LIMIT
from jaxmu.training.method import Method, Sizes
from jaxmu.training.phase import Options

Hp = Mapping[str, Any]  # one member's hyper-parameters, Python numbers


class Span(NamedTuple):
  """Some epochs of each phase: from `first`, 0-based, up to `stop`, which is not one of them."""

  first: int = 0
  stop: int = NO_LIMIT

  def within(self, epochs: int) -> int:
    """Return how many of the first epochs these are."""
    return max(min(epochs, self.stop) - self.first, 0)


WHOLE = Span()


def epoch_samples(phase: Phase, sizes: Sizes, epoch: int, hp: Hp) -> int:
  """Count the samples of one epoch, without the passes that are over by then."""
  passes = [p for p in phase.passes if p.epochs is None or epoch < p.epochs(hp)]
  return sum(streams.visits(p.stream, sizes, p.batch_size) for p in passes)


def steps(method: Method, phases: Sequence[Phase], hp: Hp, sizes: Sizes, span: Span = WHOLE) -> int:
  """Count the optimizer steps of one member."""
  hp = {**hp, **method.derive(hp, sizes)}
  return sum(_pass_steps(phase, p, hp, sizes, span) for phase in phases for p in phase.passes)


def sample_passes(
  method: Method,
  phases: Sequence[Phase],
  hp: Hp,
  sizes: Sizes,
  options: Options,
  span: Span = WHOLE,
) -> float:
  """Return equivalent sample-passes of one member: 3 per sample trained on (evaluation.md 5).

  Args:
    span: the epochs that count; preparing does with the first one.
  """
  hp = {**hp, **method.derive(hp, sizes)}
  trained = sum(_pass_samples(phase, p, hp, sizes, span) for phase in phases for p in phase.passes)
  prepared = 0 if span.first else method.prepare_samples(hp, sizes, options)
  return float(prepared + 3 * trained)


def _epochs(phase: Phase, p: Pass, hp: Hp, span: Span) -> int:
  """Count the epochs that include a pass."""
  epochs = int(phase.epochs(hp))
  return span.within(epochs if p.epochs is None else min(epochs, int(p.epochs(hp))))


def _pass_steps(phase: Phase, p: Pass, hp: Hp, sizes: Sizes, span: Span) -> int:
  """Count the steps that a pass takes in the epochs of its phase."""
  steps = streams.steps(p.stream, sizes, p.batch_size)
  if p.budget is None:
    return _epochs(phase, p, hp, span) * steps
  return Span(span.first * steps, span.stop * steps).within(p.budget(hp))


def _pass_samples(phase: Phase, p: Pass, hp: Hp, sizes: Sizes, span: Span) -> int:
  """Count the samples that a pass reads in the epochs of its phase."""
  visits = streams.visits(p.stream, sizes, p.batch_size)
  if p.budget is None:
    return _epochs(phase, p, hp, span) * visits
  rounds, left = divmod(
    _pass_steps(phase, p, hp, sizes, span), streams.steps(p.stream, sizes, p.batch_size)
  )
  return rounds * visits + min(left * p.batch_size, visits)


def work(
  method: Method, hp: Hp, sizes: Sizes, *, fidelity: str, num_classes: int, span: Span = WHOLE
) -> tuple[int, float]:
  """Return optimizer steps and equivalent sample-passes of one member, without compiling anything.

  Args:
    hp: complete hyper-parameters.
    sizes: samples by set.
    span: the epochs that count.
  """
  return _work(method, tuple(hp.items()), tuple(sizes.items()), fidelity, num_classes, span)


@functools.lru_cache(maxsize=2**14)  # a plan asks 100,000 times for a tenth as many
def _work(
  method: Method,
  hyper: tuple[tuple[str, Any], ...],
  counts: tuple[tuple[str, int], ...],
  fidelity: str,
  num_classes: int,
  span: Span,
) -> tuple[int, float]:
  hp, sizes = dict(hyper), dict(counts)
  options = _options(method, hp, fidelity, num_classes)
  phases = method.phases(options)
  passes = sample_passes(method, phases, hp, sizes, options, span)
  return steps(method, phases, hp, sizes, span), passes


def epochs(
  method: Method, hp: Hp, sizes: Sizes, *, fidelity: str | None, num_classes: int
) -> tuple[int, ...]:
  """Return how many epochs each phase has for one member."""
  hp = {**hp, **method.derive(hp, sizes)}
  phases = method.phases(_options(method, hp, fidelity, num_classes))
  return tuple(int(phase.epochs(hp)) for phase in phases)


def _options(method: Method, hp: Hp, fidelity: str | None, num_classes: int) -> Options:
  own = {name: hp[name] for name in method.static}
  return own | {"fidelity": method.resolve_fidelity(fidelity), "num_classes": num_classes}
