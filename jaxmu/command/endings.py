"""How a program ends: its exit code, and one line where a user can do something about it.

0 done, 2 a mistake of the user or something that the machine lacks, 69 what is needed is missing,
75 come again (stopped, or held elsewhere), 130 Ctrl-C. All else is a crash, with its traceback.
"""

import errno
import os
import sys
from contextlib import suppress
from typing import NoReturn

from jaxmu import stopping
from jaxmu.errors import Interrupted, StoreError, UserError, short

LACKING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG)
# Packages that only studies and reports need, which a plain installation does not have.
EXTRAS = (
  *("PIL", "absl", "adjustText", "array_record", "etils", "jinja2", "matplotlib", "ml_collections"),
  *("optuna", "orbax", "pyarrow", "rich", "tensorflow_datasets", "yaml"),
)
JAX_ERRORS = ("JaxRuntimeError", "XlaRuntimeError")  # by name: jax is not loaded here
MEMORY_ADVICE = (
  "try --config.population.members_at_once=1, --config.population.chunk=1, a smaller batch_size or"
  " a smaller network"
)


def told(error: BaseException) -> int:
  """Print one line about what ended a program, and return its exit code.

  Raises:
    error: nobody but the program is at fault.
  """
  if isinstance(error, BrokenPipeError):  # the reader of our output went away, as `head` does
    _discard_output()
    return 0
  if isinstance(error, KeyboardInterrupt):
    reason = str(error) if isinstance(error, Interrupted) else "stopped by Ctrl-C"
    _say(f"{reason}; run the same command again to go on where it stopped")
    return getattr(error, "exit_code", stopping.CTRL_C)
  reason = str(error) if isinstance(error, UserError) else _lack(error)
  if not reason:
    raise error
  _say("error: " + " ".join(reason.split()))
  return getattr(error, "exit_code", 2)


def leave(code: int) -> NoReturn:
  """End the process with an exit code, at once where it was stopped.

  XLA may be compiling in another thread, which an ordinary end would wait for.
  """
  if code in (stopping.COME_AGAIN, stopping.CTRL_C):
    for stream in (sys.stdout, sys.stderr):
      with suppress(OSError, ValueError):
        stream.flush()
    os._exit(code)
  sys.exit(code)


def print_anything() -> None:
  """Have signs that the terminal's encoding lacks (all but ASCII with LC_ALL=C) printed as "?"."""
  for stream in (sys.stdout, sys.stderr):
    with suppress(AttributeError):  # a stream of a test's, or none
      stream.reconfigure(errors="replace")


def flush() -> None:
  """Write out what was printed, while a failure can still be told.

  Raises:
    StoreError: standard output goes where there is no space.
    BrokenPipeError: its reader went away.
  """
  try:
    sys.stdout.flush()
  except BrokenPipeError:
    raise
  except OSError as error:
    _discard_output()
    raise StoreError(_unprinted(error)) from None


def _say(line: str) -> None:
  with suppress(OSError):  # the terminal may be gone: SIGHUP
    print(line, file=sys.stderr, flush=True)


def not_installed(error: BaseException) -> str:
  """Say which package of an extra is absent, "" if that is not the error."""
  if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
    return f"{error.name} is not installed; run pip install 'jaxmu[bench]', which has all of it"
  return ""


def _lack(error: BaseException) -> str:
  """Say what the machine lacks, if that is the error."""
  if absent := not_installed(error):
    return absent
  if isinstance(error, OSError) and error.errno in LACKING:
    if error.filename is not None:
      return f"cannot use {error.filename}: {error.strerror}"
    _discard_output()  # what has no name is the standard output
    return _unprinted(error)
  text = str(error)
  exhausted = type(error).__name__ in JAX_ERRORS and "RESOURCE_EXHAUSTED" in text
  if exhausted or isinstance(error, MemoryError):
    said = short(text.removeprefix("RESOURCE_EXHAUSTED: "))
    return f"out of memory{f' ({said})' if said else ''}; {MEMORY_ADVICE}"
  return ""


def _unprinted(error: OSError) -> str:
  return f"cannot write to the standard output: {error.strerror}"


def _discard_output() -> None:
  """Keep Python from complaining at its end about what could not be printed."""
  with suppress(OSError, ValueError):  # the stream of a test has no file
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
