"""What is known of a call of `unlearn` beside its result, and what is shown while it runs."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TextIO

from jaxmu.execution.observations import Leg, Outcome, means
from jaxmu.execution.progress import Progress
from jaxmu.quantities import duration

# CPU time of compiling `ft` for each array of parameters, on one core of a server: 0.2 to 0.5 s.
# Rough, and enough for nobody to think that it hangs.
SECONDS_PER_LEAF = 0.3


@dataclasses.dataclass(frozen=True)
class Unlearned:
  """A result with what is known about it, of `unlearn(..., details=True)`.

  Attributes:
    variables: the result, as without details.
    method, fidelity: what ran.
    hyperparameters: all that the method reads, given or not.
    curves: a row for each epoch: "phase", "epoch" (from 1), "steps", and means over the steps of
      "loss" and "accuracy" on the training batches, and the first step's "learning_rate".
    seconds: wall time of the method itself, without compilation.
    compile_seconds: wall time of compilation, 0 where programs were there already.
    passes: the work, in forward passes of a sample (a backward pass is 2).
  """

  variables: Any
  method: str
  fidelity: str
  hyperparameters: Mapping[str, Any]
  curves: tuple[dict[str, Any], ...]
  seconds: float
  compile_seconds: float
  passes: float


class Watch:
  """Collects curves, and shows progress if it is asked to."""

  def __init__(self, method: str, leaves: int, progress: bool, stream: TextIO | None = None):
    """Begin.

    Args:
      leaves: number of arrays of parameters, by which the time of compilation is guessed.
      stream: where progress is shown; standard error by default.
    """
    self.curves: list[dict[str, Any]] = []
    self.seconds = leaves * SECONDS_PER_LEAF
    self.shown = Progress(method, 1, stream=stream) if progress else None
    self.announced = False

  def compiling(self) -> None:
    """Say that a program is compiled, once for those that follow one another."""
    if self.shown is not None and not self.announced:
      self.shown.line(f"compiling, about {duration(self.seconds)}")
    self.announced = True

  def leg(self, leg: Leg) -> None:
    """Take note of an epoch."""
    self.announced = False
    if not leg.replay:
      self.curves += [{name: row[name] for name in row if name != "member"} for row in means(leg)]
    if self.shown is not None:
      self.shown.leg(leg)

  def __enter__(self) -> "Watch":
    return self

  def __exit__(self, *error: Any) -> None:
    """Leave what is shown as it stands."""
    if self.shown is not None:
      self.shown.close()

  def details(self, variables: Any, ended: Outcome, **known: Any) -> Unlearned:
    """Put together what is known in the end."""
    return Unlearned(
      variables=variables,
      curves=tuple(self.curves),
      seconds=ended.seconds,
      compile_seconds=ended.compile_seconds,
      passes=ended.passes[0],
      **known,
    )
