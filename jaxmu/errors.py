"""Exceptions that a user can cause, each with a one-line message that says what to do."""

import difflib
import numbers
from collections.abc import Collection
from typing import Any

LONGEST = 120  # characters of a value in a message


class UserError(ValueError):
  """A mistake in what the user gave; command-line programs print it and exit with its code."""

  exit_code = 2


class SettingsError(UserError):
  """A config value or override is unknown, of the wrong type, or out of range."""


class DataError(UserError):
  """A data set is absent, or its arrays do not have the promised form."""


class ModelError(UserError):
  """A network or its variables do not have the promised form."""


class MethodError(UserError):
  """An unlearning method or one of its hyper-parameters is unknown or out of range."""


class StoreError(UserError):
  """A run directory cannot be written, or belongs to another experiment."""


class CheckpointError(UserError):
  """A checkpoint is absent, incomplete or damaged."""


class NeedMissing(UserError):
  """What a unit of work needs from another one is not there, or failed: no use in trying again."""

  exit_code = 69  # EX_UNAVAILABLE


class Busy(UserError):
  """What is to be done is being done by another process: come again later."""

  exit_code = 75  # EX_TEMPFAIL


class Interrupted(KeyboardInterrupt):
  """A signal or a limit of time ended the work, which can be gone on with.

  Like Ctrl-C it is none of the errors that `except Exception` may take for a failure.
  """

  def __init__(self, exit_code: int, reason: str):
    super().__init__(f"stopped by {reason}")
    self.exit_code = exit_code


class UnlearningWarning(UserWarning):
  """Unlearning ran through, but its sets or its result look like a mistake."""


# What other libraries write, and no likeness of letters finds.
_ABBREVIATED = {"lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay"}


def closest(name: str, known: Collection[str]) -> str:
  """Name the alternatives for an unknown `name`: the closest match, then all that are known."""
  meant = _ABBREVIATED.get(str(name), str(name))
  matches = difflib.get_close_matches(meant, list(known), n=1)
  hint = f"did you mean '{matches[0]}'? " if matches else ""
  return f"{hint}known: {', '.join(sorted(known))}"


def shown(given: Any) -> str:
  """Write a given value for a message: type and shape of an array, else one line of its text.

  Long text is cut.
  """
  try:
    array = hasattr(given, "shape") and hasattr(given, "dtype")
    if array and not isinstance(given, numbers.Number):
      return f"{given.dtype} of shape {tuple(given.shape)}"
    return short(repr(given))
  except Exception:  # what a user gives may have any fault, its own text included
    return f"a value of type {type(given).__name__}"


def short(text: str) -> str:
  """Put a given text on one line, cut where it is long."""
  text = " ".join(text.split())
  return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"
