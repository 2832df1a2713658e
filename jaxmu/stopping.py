"""Being stopped: signals and a limit of time end work where it can go on later.

The first signal asks. Where work is `deferring`, it goes on to its next `check`, with what was done
saved; elsewhere it ends at once through an exception. A second signal ends the process right away.

Python runs handlers between bytecodes, so none runs while a compiled program does. A thread that
the C level wakes sees to it that the first signal is answered and the second one obeyed meanwhile.
"""

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from jaxmu.errors import Interrupted, SettingsError, shown

CTRL_C, COME_AGAIN = 130, 75  # exit codes: what shells report for Ctrl-C, and EX_TEMPFAIL
SIGNALS = tuple(  # SIGHUP is absent on Windows
  getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
LINE = "stopping at the next point to go on from; a second signal stops at once"
SAME = 0.2  # seconds: one request may come twice, to the process and to its group
UNITS = (86400, 3600, 60, 1)
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)


class Stop:
  """Whether the program has been asked to stop, by a signal or because its time is over."""

  def __init__(self, after: float | None = None):
    """Count `after` seconds from now; without it only signals stop."""
    self.ends = None if after is None else time.monotonic() + after
    self._signal = 0  # the first one's number
    self._first = {"seen": 0.0, "handled": 0.0}  # when each of the two noted it
    self._depth = 0
    self._unsaid = [f"\n{LINE}\n".encode()]

  def limit(self, seconds: float) -> None:
    """Be wanted `seconds` from now."""
    self.ends = time.monotonic() + seconds

  @property
  def wanted(self) -> bool:
    """Whether `check` would raise: what is to be gone on from should be saved now."""
    return bool(self._signal) or (self.ends is not None and time.monotonic() >= self.ends)

  def check(self) -> None:
    """Raise if a signal came or the time is over; call it where work can be gone on with.

    Raises:
      Interrupted: with the exit code and the reason.
    """
    if self._signal:
      raise _interruption(self._signal)
    if self.wanted:
      raise Interrupted(COME_AGAIN, "its limit of time")

  @contextmanager
  def deferring(self) -> Iterator[None]:
    """Let a first signal wait for `check`, or for the end of the outermost such block."""
    self._depth += 1
    try:
      yield
    finally:
      self._depth -= 1
    if self._signal and not self._depth:
      self.check()

  @contextmanager
  def install(self) -> Iterator[None]:
    """Answer signals, from the main thread; in another one do nothing.

    Signals that the process was started to ignore (`nohup`) stay ignored. Afterwards the handlers
    of before are back, except where a signal came: the process is to end, and another signal then
    ends it without a word.
    """
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    with self._watched():
      for number in ours:
        signal.signal(number, self._handle)
      try:
        yield
      finally:
        for number in ours:
          signal.signal(number, signal.SIG_DFL if self._signal else before[number])

  @contextmanager
  def _watched(self) -> Iterator[None]:
    """Have a thread read the number of each signal as it arrives."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=self._watch, args=(receiver,), daemon=True)
    watcher.start()
    try:
      yield
    finally:
      signal.set_wakeup_fd(before)
      sender.close()
      watcher.join()
      receiver.close()

  def _watch(self, receiver: socket.socket) -> None:
    while numbers := receiver.recv(64):
      for number in numbers:
        if number in SIGNALS:
          self._note("seen", number)

  def _handle(self, number: int, frame: FrameType | None) -> None:
    """Note a signal, in the main thread."""
    first = not self._signal
    self._signal = self._signal or number
    self._note("handled", number)
    if first and not self._depth:
      raise _interruption(number)

  def _note(self, who: str, number: int) -> None:
    """Answer the first signal, obey the second.

    Both callers may miss signals, so each counts: Python does while a program runs, the thread
    while an event loop has its place.
    """
    now = time.monotonic()
    first = self._first[who] = self._first[who] or now
    if now - first > SAME:
      _exit(128 + number)
    if self._depth:
      with suppress(IndexError, OSError):  # said; standard error is closed
        os.write(2, self._unsaid.pop())  # past Python's buffers: the main thread may be in them


def _interruption(number: int) -> Interrupted:
  if number == signal.SIGINT:
    return Interrupted(CTRL_C, "Ctrl-C")
  return Interrupted(COME_AGAIN, signal.Signals(number).name)


def _exit(code: int) -> None:
  """End the process at once; what was printed gets a second to leave."""

  def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
      with suppress(Exception):
        stream.flush()

  last = threading.Thread(target=flush, daemon=True)  # the main thread may hold the buffers' locks
  last.start()
  last.join(1.0)
  os._exit(code)


def parse_duration(text: str) -> float:
  """Read a duration in seconds: "90", "90s", "55m", "2h", "1h30m", "1d12h".

  Raises:
    SettingsError: it is not of this form, or zero.
  """
  parts = _DURATION.fullmatch(f"{text}s" if text.isdecimal() else text)
  counts = [int(count or 0) for count in parts.groups()] if parts else [0]
  seconds = sum(count * unit for count, unit in zip(counts, UNITS))
  if not 0 < seconds < 1e9:
    raise SettingsError(f"{shown(text)} is not a duration; expected one like 90s, 55m or 1h30m")
  return float(seconds)
