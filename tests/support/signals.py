"""Signals of processes that tests start, whatever the tests themselves were started with."""

import sys

_RESET = (
  "import os, signal, sys\n"
  "for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):\n"
  "  signal.signal(number, signal.SIG_DFL)\n"
  "os.execvp(sys.argv[1], sys.argv[1:])"
)


def as_in_a_terminal(command):
  """Return a command that reacts to signals, also where tests run in the background or by nohup."""
  return [sys.executable, "-c", _RESET, *command]
