"""Readers of entries that are more than a number or a text: each returns the clean value.

They raise `Unfit` (what was expected instead) or `Refusal` (what is wrong, in other words).
Registries come as the validation's context; where there is none, as in `dataclasses.replace`, the
value has been checked before.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pydantic import ValidationInfo

from jaxmu.errors import closest, shown
from jaxmu.own_code import names
from jaxmu.settings.ranges import MEMBERS, OPEN_UNIT, SEED, Range, Unfit, fit
from jaxmu.settings.refusals import Refusal, UnfitPart

NAME = 200  # characters: a folder's name has 255 bytes, and files in progress add to it
PART, WHOLE = 255, 2048  # bytes of a folder's name and of a path


def choose(given: Any, known: Collection[str]) -> str:
  """Read one of some names."""
  if not isinstance(given, str) or not given:
    raise Unfit(f"one of {', '.join(sorted(known))}")
  if given not in known:
    raise Refusal(f": unknown {shown(given)}; {closest(given, known)}")
  return given


def nothing_or(names: Collection[str]) -> Callable[[Any, ValidationInfo], str]:
  """Return a reader of one of some names, or of an empty text."""
  return lambda given, info: given if given == "" else choose(given, names)


def known(registry: str) -> Callable[[Any, ValidationInfo], str]:
  """Return a reader of one name out of a registry of the catalog."""

  def read(given: Any, info: ValidationInfo) -> str:
    text = fit(given, str)
    if info.context is None:
      return text
    names_known = getattr(info.context, registry)
    if (own := info.context.own.get(registry)) is None:
      return choose(text, names_known)
    if reference := names.named(registry, text, names_known):
      own(reference)
      return text
    return choose(text, {*names_known, *names.installed(registry)})

  return read


def file_name(given: Any, info: ValidationInfo) -> str:
  """Read a text that can begin the name of a run directory."""
  del info
  if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", given):
    raise Unfit("letters, digits, '.', '_' or '-', as it names the run directory")
  if len(given) > NAME:
    raise Unfit(f"at most {NAME} characters, as it names the run directory")
  return given


def file_path(given: Any, info: ValidationInfo) -> str:
  """Read a path that a file system can take; that it exists is another matter."""
  del info
  text = fit(given, str)
  try:
    path = os.fsencode(text)
  except UnicodeEncodeError:  # half of a pair of surrogates
    raise Unfit("a path that can be written in UTF-8") from None
  if os.sep == "/" and re.match(r"[A-Za-z]:\\", text):  # would be a folder of that name, here
    raise Unfit("a path of this system, with / between its parts")
  if b"\0" in path:
    raise Unfit("a path, which has no zero bytes")
  if len(path) > WHOLE or any(len(part) > PART for part in path.split(b"/")):
    raise Unfit(f"a path of at most {WHOLE} bytes, with names of at most {PART}")
  return text


def sha256(given: Any, info: ValidationInfo) -> str:
  """Read a SHA-256, or nothing."""
  del info
  if not isinstance(given, str) or not re.fullmatch(r"([0-9a-f]{64})?", given):
    raise Unfit("64 hexadecimal digits in lower case, or nothing")
  return given


def auto_or(within: Range) -> Callable[[Any, ValidationInfo], int | str]:
  """Return a reader of "auto" or a whole number, which a command line gives as text."""

  def read(given: Any, info: ValidationInfo) -> int | str:
    del info
    if isinstance(given, str) and given == "auto":
      return given
    try:
      return fit(_number(given), int, within)
    except Unfit:
      raise Unfit(f"'auto' or a whole number {within}") from None

  return read


def seeds(given: Any, info: ValidationInfo) -> tuple[int, ...]:
  """Read the members' seeds: 0, '0,1,2', '0..4,7', or a tuple of whole numbers and such texts."""
  del info
  return _distinct(_seeds(given), "at least one whole number, such as 0,1,2 or 0..9")


def further_seeds(given: Any, info: ValidationInfo) -> tuple[int, ...]:
  """Read seeds as `seeds` does, or none."""
  del info
  found = _seeds(given)
  return _distinct(found, "") if found else ()


def words(given: Any, info: ValidationInfo) -> str:
  """Read words apart by commas: 'a,b', 3, ('a', 'b'), or ('a,b',), as a command line makes it."""
  del info
  found = pieces(given)
  if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in found):
    raise Unfit("names or whole numbers, apart by commas")
  return ",".join(map(str, found))


def shares(given: Any, info: ValidationInfo) -> tuple[float, ...]:
  """Read shares of a whole, rising, as '0.25,0.5' or a tuple of numbers and such texts; or none."""
  del info
  try:
    found = tuple(fit(decimal(one), float, OPEN_UNIT) for one in pieces(given))
  except Unfit as error:
    raise Unfit(f"shares separated by commas, each {error}") from None
  if list(found) != sorted(set(found)):
    raise Unfit("shares that rise, such as 0.25,0.5")
  return found


def decimal(given: Any) -> Any:
  """Return a number that is written as text, all else as it is."""
  try:
    return float(given) if isinstance(given, str) else given
  except ValueError:
    return given


def _seeds(given: Any) -> list[int]:
  found: list[int] = []
  for one in pieces(given):
    try:
      text = re.sub(r"^(\d+)-(\d+)$", r"\1..\2", one) if isinstance(one, str) else one
      found.extend(_seed_range(text) if isinstance(text, str) and ".." in text else [_seed(one)])
    except Unfit as error:
      raise UnfitPart(one, str(error)) from None
    if not MEMBERS.holds(len(found)):
      raise Refusal(f" has more than {MEMBERS.high} seeds; expected one per member: give fewer")
  return found


def pieces(given: Any) -> list[Any]:
  """Take apart what a command line gives as one text, or as a tuple of one: 'a,b' and ('a,b',)."""
  found = []
  for part in given if isinstance(given, tuple | list) else (given,):
    for one in part.split(",") if isinstance(part, str) else (part,):
      text = one.strip() if isinstance(one, str) else one
      if not isinstance(text, str) or text:
        found.append(text)
  return found


def _seed(given: Any) -> int:
  return fit(_number(given), int, SEED)


def _seed_range(text: str) -> Sequence[int]:
  """Read FIRST..LAST, both included."""
  first, _, last = text.partition("..")
  try:
    found = range(_seed(first.strip()), _seed(last.strip()) + 1)
  except Unfit as error:
    raise Unfit(f"FIRST..LAST, each {error}") from None
  if not found:
    raise Unfit("FIRST..LAST, from the smaller to the larger one")
  if not MEMBERS.holds(found.stop - found.start):  # `len` has a limit of its own
    raise Unfit(f"FIRST..LAST of at most {MEMBERS.high} seeds")
  return found


def method_names(given: Any, info: ValidationInfo) -> tuple[str, ...]:
  """Read a selection of methods: 'a,b', ('a', 'b'), or ('a,b',), as a command line makes it."""
  if info.context is None:
    return given
  parts, methods = (given,) if isinstance(given, str) else given, info.context.methods
  listed = ", ".join(sorted(methods))
  if not isinstance(parts, tuple | list) or not all(isinstance(part, str) for part in parts):
    raise Unfit(f"names separated by commas, out of {listed}")
  found = pieces(parts)
  for name in found:
    choose(name, methods)
  return _distinct(found, f"at least one of {listed}")


def _number(given: Any) -> Any:
  """Return decimal digits as their number, all else as it is."""
  try:
    return int(given) if isinstance(given, str) and given.isdecimal() else given
  except ValueError:  # Python reads no more than some thousand digits
    return given


def _distinct(found: list[Any], expected: str) -> tuple[Any, ...]:
  if not found:
    raise UnfitPart(found, expected)
  for entry, times in Counter(found).items():
    if times > 1:
      raise Refusal(f" names {entry} {times} times; expected each once: remove the repeats")
  return tuple(found)
