"""What a run tells while it goes on and in the end: legs, snapshots to resume from, the outcome."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmu.training import EpochMetrics
from jaxmu.training.phase import Variables


class Snapshot(NamedTuple):
  """A run after one of its epochs: what it is resumed from, bit for bit.

  Attributes:
    phase, epoch: number of the phase, or one more than the last while members go back to earlier
      epochs; 0-based epoch.
    seconds: run time of the method so far.
    failures: per member, as in `Outcome`.
    variables: {"params", "batch_stats"}, leaves [K, ...], NumPy arrays.
    failed_at: int32 [K], see `TrainState`.
    optimizers: number as text -> leaf [K, ...] of the optimizers' states and the phase's memory.
    targets: epochs that members go back to; () unless they do.
  """

  phase: int
  epoch: int
  seconds: float
  failures: tuple[str, ...]
  variables: Variables
  failed_at: Any
  optimizers: Mapping[str, Any]
  targets: tuple[int, ...] = ()

  def arrays(self) -> dict[str, Any]:
    """Return the arrays, a tree for a checkpoint."""
    return {name: getattr(self, name) for name in ARRAYS}

  def rest(self) -> dict[str, Any]:
    """Return everything else."""
    return {name: value for name, value in self._asdict().items() if name not in ARRAYS}


ARRAYS = ("variables", "failed_at", "optimizers")


class Leg(NamedTuple):
  """What is known after one epoch of a population.

  Attributes:
    phase, number: name and position of the phase.
    epoch, epochs: 0-based epoch and the largest number of epochs of any member.
    steps: optimizer steps of the epoch.
    metrics: NumPy arrays [K, T].
    samples: training samples that the population read.
    seconds: wall time of the leg, compilation excluded.
    snapshot: call it for the state as NumPy arrays (to save it).
    replay: True where epochs are run again only to rewind; their metrics are known already.
  """

  phase: str
  number: int
  epoch: int
  epochs: int
  steps: int
  metrics: EpochMetrics
  samples: int
  seconds: float
  snapshot: Callable[[], Snapshot]
  replay: bool = False


def means(leg: Leg) -> Iterator[dict[str, Any]]:
  """Yield a row for each member: means over the steps of an epoch that it took; none at rest.

  `epoch` counts from 1, and `learning_rate` is that of the first step.
  """
  for k, loss in enumerate(leg.metrics.loss):
    taken = ~np.isnan(leg.metrics.learning_rate[k])  # a pass may leave steps out
    if taken.any():
      yield {
        "member": k,
        "phase": leg.phase,
        "epoch": leg.epoch + 1,
        "steps": int(taken.sum()),
        "loss": float(np.mean(loss[taken])),
        "accuracy": float(np.mean(leg.metrics.accuracy[k][taken])),
        "learning_rate": float(leg.metrics.learning_rate[k][taken][0]),
      }


class Outcome(NamedTuple):
  """Result of a method on a population.

  Attributes:
    variables: {"params", "batch_stats"}, leaves [K, ...], on the devices (free places included).
    failures: per member "" or the steps in which it was non-finite before it was frozen.
    seconds: wall time of prepare, phases and finish, compilation and replays excluded.
    compile_seconds: time spent compiling.
    passes: equivalent sample-passes per member (forward 1, backward 2; evaluation.md 5).
    left: per member, the epochs after those that were asked for.
    state: what members go on from that have some; None where none has.
  """

  variables: Any
  failures: tuple[str, ...]
  seconds: float
  compile_seconds: float
  passes: tuple[float, ...]
  left: tuple[int, ...] = ()
  state: Snapshot | None = None
