"""Several processes on one machine that share a study, each with its part of the devices."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from jaxmu.engine import runtime
from jaxmu.errors import SettingsError
from jaxmu.execution.compile_ahead import THREADS_ENV
from jaxmu.stopping import Stop

PAUSE = 0.2  # seconds between two looks at the processes


class Share(NamedTuple):
  """What one process may use: processor cores, and GPUs in the words of CUDA ("0", "GPU-...")."""

  cores: tuple[int, ...]
  gpus: tuple[str, ...]

  def environment(self) -> dict[str, str]:
    """Return the variables that hold a process to its share."""
    # Compiling ahead would take cores from the other processes, for units that they may work.
    held = {THREADS_ENV: os.environ.get(THREADS_ENV, "0")}
    return held | ({"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {})


def shares(count: int, cores: Sequence[int], gpus: Sequence[str]) -> list[Share]:
  """Divide cores and GPUs among processes.

  Raises:
    SettingsError: there are fewer of them than processes.
  """
  for name, found in (("cores", cores), ("GPUs", gpus)):
    if found and len(found) < count:
      raise SettingsError(
        f"--workers={count}: this machine has {len(found)} {name}; expected at most one worker for "
        "each"
      )
  return [Share(tuple(cores[k::count]), tuple(gpus[k::count])) for k in range(count)]


def work(command: Sequence[str], count: int, stop: Stop) -> list[int]:
  """Run `count` processes that work units, and wait for them; return their exit codes.

  A signal to this process is passed on, but for Ctrl-C, which a terminal sends to all of them: each
  saves its state and ends.

  Raises:
    Interrupted: this process was asked to stop.
  """
  every = shares(count, sorted(os.sched_getaffinity(0)), runtime.visible_gpus())
  processes = [_start(command, share) for share in every]
  try:
    with stop.deferring():
      while any(process.poll() is None for process in processes):
        if stop.wanted:
          break
        time.sleep(PAUSE)
  finally:
    for process in processes:
      if stop.signal != signal.SIGINT and process.poll() is None:
        process.terminate()
    codes = [process.wait() for process in processes]
  stop.check()
  return codes


def share(command: Sequence[str], count: int, stop: Stop) -> None:
  """Let `count` processes share the work; say which of them did not end well.

  Raises:
    SettingsError: `count` is no number of processes.
    Interrupted: this process was asked to stop.
  """
  if count < 1:
    raise SettingsError(f"--workers={count}: expected at least 1")
  for code in work(command, count, stop):
    if code:
      print(f"a worker ended with code {code}; what it left is done here", file=sys.stderr)


def _start(command: Sequence[str], share: Share) -> subprocess.Popen:
  pin = [sys.executable, "-c", _PINNED, ",".join(map(str, share.cores))] if share.cores else []
  environment = os.environ | share.environment()
  return subprocess.Popen([*pin, *command] if pin else list(command), env=environment)


# Cores are chosen before anything is imported that counts them.
_PINNED = (
  "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); "
  "os.execv(sys.argv[2], sys.argv[2:])"
)
