"""What is known of a call of `unlearn` beside its result, and what is shown while it runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from jaxmu.execution.observations import Leg, means
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
    seconds: wall time of the method itself, without compilation; of several seeds, that ran
      together, each one's even share.
    compile_seconds: wall time of compilation, 0 where programs were there already; also a share.
    passes: the work, in forward passes of a sample (a backward pass is 2).
    seed: whose result it is, where several seeds were asked for.
    failure: where it turned non-finite, "" if it did not; its `variables` are None then.
  """

  variables: Any
  method: str
  fidelity: str
  hyperparameters: Mapping[str, Any]
  curves: tuple[dict[str, Any], ...]
  seconds: float
  compile_seconds: float
  passes: float
  seed: int | None = None
  failure: str = ""


class Watch:
  """Collects curves, and shows progress if it is asked to."""

  def __init__(
    self,
    method: str,
    leaves: int,
    progress: bool,
    stream: TextIO | None = None,
    members: int = 1,
  ):
    """Begin.

    Args:
      leaves: number of arrays of parameters, by which the time of compilation is guessed.
      stream: where progress is shown; standard error by default.
      members: how many models there are.
    """
    self.curves: list[list[dict[str, Any]]] = [[] for _ in range(members)]
    self.seconds = leaves * SECONDS_PER_LEAF
    self._method, self._stream, self._progress = method, stream, progress
    self._members: Sequence[int] = ()
    self.shown: Progress | None = None
    self.announced = False

  def compiling(self, members: Sequence[int] = (0,)) -> None:
    """Say that a program is compiled, once for those that follow one another."""
    self._look_at(members)
    if self.shown is not None and not self.announced:
      self.shown.line(f"compiling, about {duration(self.seconds)}")
    self.announced = True

  def leg(self, leg: Leg, members: Sequence[int] = (0,)) -> None:
    """Take note of an epoch of some models."""
    self._look_at(members)
    self.announced = False
    if not leg.replay:
      for row in means(leg):
        own = {name: value for name, value in row.items() if name != "member"}
        self.curves[members[row["member"]]].append(own)
    if self.shown is not None:
      self.shown.leg(leg)

  def _look_at(self, members: Sequence[int]) -> None:
    """Begin to show a group of models, where it is another one than before."""
    if self._progress and (self.shown is None or tuple(members) != tuple(self._members)):
      self.close()
      self.shown = Progress(self._name(members), len(members), stream=self._stream)
    self._members = members

  def _name(self, members: Sequence[int]) -> str:
    """Name the method, and which models of it these are where there are others."""
    every = len(self.curves)
    some = f" {members[0] + 1}-{members[-1] + 1} of {every}" if len(members) < every else ""
    return f"{self._method}{some}"

  def close(self) -> None:
    """Leave what is shown as it stands."""
    if self.shown is not None:
      self.shown.close()

  def __enter__(self) -> "Watch":
    return self

  def __exit__(self, *error: Any) -> None:
    self.close()
