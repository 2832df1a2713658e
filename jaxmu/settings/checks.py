"""Checks of single config entries: each returns the clean value or raises `SettingsError`."""

import math
import numbers
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from jaxmu.errors import SettingsError, closest


class Range(NamedTuple):
  """An interval of numbers; open ends are excluded."""

  low: float
  high: float = math.inf
  low_open: bool = False
  high_open: bool = False

  def holds(self, number: float) -> bool:
    """Tell whether a number lies inside; NaN and infinities never do."""
    above = number > self.low if self.low_open else number >= self.low
    below = number < self.high if self.high_open else number <= self.high
    return above and below and math.isfinite(number)

  def __str__(self) -> str:
    """Say it in words, for messages."""
    if self.low == -math.inf:
      return "that is finite"
    text = f"{'above' if self.low_open else 'at least'} {self.low:.10g}"
    if self.high < math.inf:
      text += f" and {'below' if self.high_open else 'at most'} {self.high:.10g}"
    return text


COUNT = Range(1)
NATURAL = DECAY = Range(0)
POSITIVE = Range(0, low_open=True)
UNIT = Range(0, 1)
OPEN_UNIT = Range(0, 1, low_open=True, high_open=True)
SHARE = MOMENTUM = Range(0, 1, high_open=True)
SEED = Range(0, 2**32 - 1)

# By the end of a hyper-parameter's name: what holds for it in every method. What holds for one
# method only is checked by that method.
HYPER_PARAMETERS = {
  "batch_size": COUNT,
  "num_epochs": COUNT,
  "learning_rate": POSITIVE,
  "momentum": MOMENTUM,
  "weight_decay": DECAY,
  "temperature": POSITIVE,
  "init_rate": UNIT,
}
KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


def value(path: str, given: Any, kind: type, within: Range | None = None) -> Any:
  """Check type and range of one entry; a whole number serves as a float, a bool as neither."""
  if kind is float and isinstance(given, numbers.Real) and not isinstance(given, bool):
    clean = float(given)
  elif kind is int and isinstance(given, numbers.Integral) and not isinstance(given, bool):
    clean = int(given)
  elif kind in (bool, str) and isinstance(given, kind):
    clean = given
  else:
    raise _wrong(path, given, KINDS[kind])
  if within is not None and not within.holds(clean):
    raise _wrong(path, given, f"{KINDS[kind]} {within}")
  return clean


def auto_count(path: str, given: Any) -> int | str:
  """Check how many members do something together: "auto" or a whole number from 1."""
  number = int(given) if isinstance(given, str) and given.isdecimal() else given
  if number == "auto":
    return number
  if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < 1:
    raise _wrong(path, given, "'auto' or a whole number at least 1")
  return int(number)


def hyper_parameter(path: str, given: Any, default: Any) -> Any:
  """Check one hyper-parameter against its default's type and the range that its name implies."""
  if type(default) not in KINDS:
    return given  # only the method knows
  within = next((r for end, r in HYPER_PARAMETERS.items() if path.endswith(end)), None)
  if within is None and isinstance(default, (int, float)) and not isinstance(default, bool):
    within = Range(-math.inf)  # any finite number
  return value(path, given, type(default), within)


def section(path: str, given: Any) -> Mapping[str, Any]:
  """Check that an entry is a section (a mapping), not a value."""
  if not isinstance(given, Mapping):
    raise SettingsError(
      f"{path} is {given!r}; expected a section with entries of its own: set one of them, as in "
      f"--{path}.ENTRY=VALUE"
    )
  return given


def known_keys(path: str, given: Mapping[str, Any], known: Collection[str], kind="entry") -> None:
  """Refuse keys that a section does not have."""
  for key in given:
    if key not in known:
      raise SettingsError(f"{path} has no {kind} '{key}'; {closest(key, known)}")


def choice(path: str, given: Any, known: Collection[str]) -> str:
  """Check that an entry is one of the known names."""
  if not isinstance(given, str) or not given:
    raise _wrong(path, given, f"one of {', '.join(sorted(known))}")
  if given not in known:
    raise SettingsError(f"{path}: unknown '{given}'; {closest(given, known)}")
  return given


def file_name(path: str, given: Any) -> str:
  """Check that a text can begin the name of a run directory."""
  if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", given):
    raise _wrong(path, given, "letters, digits, '.', '_' or '-', as it names the run directory")
  return given


def names(path: str, given: Any, known: Collection[str]) -> tuple[str, ...]:
  """Check a selection of names: 'a,b', ('a', 'b'), or ('a,b',), as a command line makes it."""
  parts = [given] if isinstance(given, str) else given
  if not isinstance(parts, (tuple, list)) or not all(isinstance(part, str) for part in parts):
    raise _wrong(path, given, f"names separated by commas, out of {', '.join(sorted(known))}")
  found = tuple(name.strip() for part in parts for name in part.split(",") if name.strip())
  for name in found:
    choice(path, name, known)
  return _distinct(path, found, f"at least one of {', '.join(sorted(known))}")


def seeds(path: str, given: Any) -> tuple[int, ...]:
  """Check the members' seeds: 0, '0,1,2', or a tuple of whole numbers."""
  parts = given if isinstance(given, (tuple, list)) else str(given).split(",")
  parts = [p for part in parts for p in (part.split(",") if isinstance(part, str) else [part])]
  found = []
  for part in parts:
    text = part.strip() if isinstance(part, str) else part
    if text == "":
      continue
    number = int(text) if isinstance(text, str) and text.isdecimal() else text
    found.append(value(path, number, int, SEED))
  return _distinct(path, tuple(found), "at least one whole number, such as 0,1,2")


def _distinct(path: str, found: tuple, expected: str) -> tuple:
  if not found:
    raise _wrong(path, found, expected)
  for entry in found:
    if found.count(entry) > 1:
      raise SettingsError(
        f"{path} names {entry} {found.count(entry)} times; expected each once: remove the repeats"
      )
  return found


def _wrong(path: str, given: Any, expected: str) -> SettingsError:
  shown = "empty" if given in ("", ()) else repr(given)
  return SettingsError(f"{path} is {shown}; expected {expected}: set it with --{path}=...")
