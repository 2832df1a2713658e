"""Progress of long work: a bar on a terminal or in a notebook, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TextIO, TypeVar

from tqdm.auto import tqdm  # in a notebook another bar

from jaxmu.execution.observations import Leg
from jaxmu.quantities import duration

Unit = TypeVar("Unit")
INTERVAL = 30.0  # seconds between plain lines


class Progress:
  """Show how far a stage is: members, step, images/s, time left, mean training accuracy."""

  def __init__(self, stage: str, members: int, *, stream: TextIO | None = None):
    self.stage, self.members = stage, members
    self.stream = stream or sys.stderr
    self.bar: tqdm | None = None
    self.started = self.said = time.monotonic()
    self.images, self.seconds = 0, 0.0

  def leg(self, leg: Leg) -> None:
    """Take note of a finished epoch."""
    self.images += leg.samples
    self.seconds += leg.seconds  # without compilation
    rate = self.images / max(self.seconds, 1e-9)
    accuracy = _mean(leg.metrics.accuracy)
    step = (leg.epoch + 1) * leg.steps
    if self.stream.isatty() or in_notebook():
      self._bar(leg, step, rate, accuracy)
    elif time.monotonic() - self.said >= INTERVAL:
      done = (leg.epoch + 1) / leg.epochs
      left = (time.monotonic() - self.started) * (1 - done) / done
      self.line(
        f"{leg.phase}: epoch {leg.epoch + 1}/{leg.epochs}, step {step}, {self.members} members, "
        f"{rate:,.0f} images/s, accuracy {accuracy:.3f}, {left:.0f} s left"
      )
      self.said = time.monotonic()

  def _bar(self, leg: Leg, step: int, rate: float, accuracy: float) -> None:
    if self.bar is None or self.bar.total != leg.epochs:
      self.close()
      self.bar = tqdm(
        total=leg.epochs,
        desc=f"{self.stage} ({self.members} members)" if self.members > 1 else self.stage,
        unit="epoch",
        file=self.stream,
        initial=leg.epoch,
        dynamic_ncols=True,
      )
    self.bar.set_postfix_str(f"step {step}, {rate:,.0f} images/s, accuracy {accuracy:.3f}")
    self.bar.update(1)

  def line(self, text: str) -> None:
    """Say one line about this stage."""
    self.close()
    print(f"{self.stage}: {text}", file=self.stream, flush=True)

  def close(self) -> None:
    """Leave the bar as it stands."""
    if self.bar is not None:
      self.bar.close()
      self.bar = None


def in_notebook() -> bool:
  """Tell whether this process serves a notebook, which shows bars though it is no terminal."""
  shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
  return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


class StudyProgress(Generic[Unit]):
  """Say now and then how much of a study is done, and when the rest will be."""

  def __init__(
    self,
    work: Callable[[Sequence[Unit]], float],
    members: Callable[[Sequence[Unit]], int],
    say: Callable[[str], None],
  ):
    """Begin.

    Args:
      work, members: of units, together.
    """
    self.work, self.members, self.say = work, members, say
    self.started = self.said = time.monotonic()
    self.done: list[Unit] = []

  def finished(self, unit: Unit, left: Callable[[], Sequence[Unit]], total: int) -> None:
    """Take note of a unit that this process finished.

    Args:
      left: gives the units that are still to do; asked only when there is something to say.
      total: members of all stages.
    """
    self.done.append(unit)
    now = time.monotonic()
    if now - self.said < INTERVAL:
      return
    self.said, units = now, left()
    seconds = self.work(units) * (now - self.started) / max(self.work(self.done), 1e-12)
    if units:
      self.say(
        f"study: {total - self.members(units)} of {total} members done, {len(units)} units left, "
        f"about {duration(seconds)} at this process's speed"
      )


def _mean(values: Any) -> float:
  """Average what members still train; 0 where none does."""
  finite = values[values == values]
  return float(finite.mean()) if finite.size else 0.0
