"""Waiting for what another process has finished, and a shared file system may not show yet."""

import time
from collections.abc import Callable

PAUSE = 0.5  # seconds between two looks
PATIENCE = 90.0  # seconds for which a file system may hide what another machine has finished


def comes(there: Callable[[], bool], patience: float | None = None) -> bool:
  """Wait until something is there; tell whether it is.

  Args:
    patience: most seconds; None: `PATIENCE`.
  """
  deadline = time.monotonic() + (PATIENCE if patience is None else patience)
  while not there():
    if time.monotonic() > deadline:
      return False
    time.sleep(PAUSE)
  return True
