"""Being stopped: signals and a limit of time end work where it can go on later.

The first signal asks. Where work is `deferring`, it goes on to its next `check`, with what was done
saved; elsewhere it ends at once through an exception. A second signal ends the process right away.

Python runs handlers between bytecodes, so none runs while a compiled program does. A thread that
the C level wakes sees to it that the first signal is answered and the second one obeyed meanwhile.

An exception may come up where it does harm (imports of compiled modules crash) or is dropped
(destructors, JAX's callbacks of the garbage collector). An alarm tries again until it got through.
"""

import os
import re
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from jaxmu.errors import Interrupted, SettingsError, shown

CTRL_C, COME_AGAIN = 130, 75  # exit codes: what shells report for Ctrl-C, and EX_TEMPFAIL
SIGNALS = tuple(  # SIGHUP is absent on Windows
  getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
LINE = "stopping at the next point to go on from; a second signal stops at once"
IMPORTS = "<frozen importlib"
DROPPING = ("__del__", "_xla_gc_callback")
SOON, LATER = 0.05, 1.0  # seconds until an exception is tried, and looked after, again
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
    self._raised: Callable[[], Interrupted | None] = lambda: None
    self._depth = 0
    self._unsaid = [f"\n{LINE}\n".encode()]

  def limit(self, seconds: float) -> None:
    """Be wanted `seconds` from now."""
    self.ends = time.monotonic() + seconds

  @property
  def wanted(self) -> bool:
    """Whether `check` would raise: what is to be gone on from should be saved now."""
    return bool(self._signal) or (self.ends is not None and time.monotonic() >= self.ends)

  @property
  def signal(self) -> int:
    """The number of the first signal; 0 where none came."""
    return self._signal

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
    with self._watched(), self._alarm(), self._known():
      for number in ours:
        signal.signal(number, self._handle)
      try:
        yield
      finally:
        for number in ours:
          signal.signal(number, signal.SIG_DFL if self._signal else before[number])

  @contextmanager
  def _known(self) -> Iterator[None]:
    _INSTALLED.append(self)
    try:
      yield
    finally:
      _INSTALLED.remove(self)

  @contextmanager
  def _alarm(self) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, self._raise)
    try:
      yield
    finally:
      signal.setitimer(signal.ITIMER_REAL, 0)
      signal.signal(signal.SIGALRM, before)

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
      self._unsaid.clear()  # it is obeyed now; the thread may come to it only in a later block
      self._raise(number, frame)

  def _raise(self, number: int, frame: FrameType | None) -> None:
    """Raise in the main thread, once that is safe; see to it later that it was not in vain."""
    if self._depth or self._raised() is not None:  # will be asked; is on its way
      signal.setitimer(signal.ITIMER_REAL, LATER)
    elif not _safe(frame):
      signal.setitimer(signal.ITIMER_REAL, SOON)
    else:
      signal.setitimer(signal.ITIMER_REAL, LATER)
      error = _interruption(self._signal)
      self._raised = weakref.ref(error)
      try:
        raise error
      finally:
        del error  # which its traceback would keep alive through this frame

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


_INSTALLED: list[Stop] = []


@contextmanager
def uninterrupted() -> Iterator[None]:
  """Let a first signal wait for the end of the block, whoever answers signals in this process."""
  if _INSTALLED and threading.current_thread() is threading.main_thread():
    with _INSTALLED[-1].deferring():
      yield
  else:
    yield


def _safe(frame: FrameType | None) -> bool:
  """Tell whether an exception may come up here: nothing is being imported or destroyed."""
  while frame is not None:
    code = frame.f_code
    if code.co_filename.startswith(IMPORTS) or code.co_name in DROPPING:
      return False
    frame = frame.f_back
  return True


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
