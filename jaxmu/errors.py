"""Exceptions that a user can cause, each with a one-line message that says what to do."""

import difflib
from collections.abc import Collection


class UserError(ValueError):
  """A mistake in what the user gave; command-line programs print it and exit with code 2."""


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


class UnlearningWarning(UserWarning):
  """Unlearning ran through, but its sets or its result look like a mistake."""


def closest(name: str, known: Collection[str]) -> str:
  """Name the alternatives for an unknown `name`: the closest match, then all that are known."""
  matches = difflib.get_close_matches(str(name), list(known), n=1)
  hint = f"did you mean '{matches[0]}'? " if matches else ""
  return f"{hint}known: {', '.join(sorted(known))}"


def brief(value: object, longest: int = 60) -> str:
  """Say what a value is on one short line: type and shape of an array, else its beginning."""
  if hasattr(value, "shape") and hasattr(value, "dtype"):
    return f"{value.dtype} of shape {tuple(value.shape)}"
  return " ".join(repr(value).split())[:longest]
