"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time

from tqdm import tqdm

INTERVAL = 30.0  # seconds between plain lines


class Progress:
  """Show how far a stage is: members, step, images/s, time left, mean training accuracy."""

  def __init__(self, stage: str, members: int, *, stream=None):
    self.stage, self.members = stage, members
    self.stream = stream or sys.stderr
    self.bar = None
    self.started = self.said = time.monotonic()
    self.images, self.seconds = 0, 0.0
    self.wave = 0

  def leg(self, leg) -> None:
    """Take note of a finished epoch."""
    self.images += leg.samples
    self.seconds += leg.seconds  # without compilation
    rate = self.images / max(self.seconds, 1e-9)
    accuracy = _mean(leg.metrics.accuracy)
    step = (leg.epoch + 1) * leg.steps
    if self.stream.isatty():
      self._bar(leg, step, rate, accuracy)
    elif time.monotonic() - self.said >= INTERVAL:
      done = (leg.wave + (leg.epoch + 1) / leg.epochs) / leg.waves
      left = (time.monotonic() - self.started) * (1 - done) / done
      self.line(
        f"{leg.phase}: epoch {leg.epoch + 1}/{leg.epochs}, step {step}, {self._who(leg)}, "
        f"{rate:,.0f} images/s, accuracy {accuracy:.3f}, {left:.0f} s left"
      )
      self.said = time.monotonic()

  def _bar(self, leg, step, rate, accuracy):
    if self.bar is None or self.bar.total != leg.epochs or self.wave != leg.wave:
      self.close()
      self.wave = leg.wave
      self.bar = tqdm(
        total=leg.epochs,
        desc=f"{self.stage} ({self._who(leg)})",
        unit="epoch",
        file=self.stream,
        initial=leg.epoch,
        dynamic_ncols=True,
      )
    self.bar.set_postfix_str(f"step {step}, {rate:,.0f} images/s, accuracy {accuracy:.3f}")
    self.bar.update(1)

  def _who(self, leg) -> str:
    wave = f", wave {leg.wave + 1} of {leg.waves}" if leg.waves > 1 else ""
    return f"{self.members} members{wave}"

  def line(self, text: str) -> None:
    """Say one line about this stage."""
    self.close()
    print(f"{self.stage}: {text}", file=self.stream, flush=True)

  def close(self) -> None:
    """Leave the bar as it stands."""
    if self.bar is not None:
      self.bar.close()
      self.bar = None


def _mean(values) -> float:
  """Average what members still train; 0 where none does."""
  finite = values[values == values]
  return float(finite.mean()) if finite.size else 0.0
