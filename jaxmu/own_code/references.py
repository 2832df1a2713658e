"""What a reference MODULE:NAME names: looked up, called, and told in one line where that fails.

Modules are looked for in the current directory first, as `python -m` does, so that every process of
a study that starts in its folder finds the same ones.
"""

import contextlib
import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxmu.errors import UserError, closest, short, shown
from jaxmu.own_code.sources import INSTALLED

MANY = 20  # names that a message lists
_FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_FOREIGN = (str(Path(os.__file__).parent), str(Path(__file__).parents[1]))  # Python's, and ours


def find(reference: str, what: str, error: type[UserError]) -> Any:
  """Return what a reference names.

  Args:
    what: it is to be, in words.
    error: raised, with one line, where there is no such module or name, or an import fails.
  """
  if not _FORM.fullmatch(reference):
    raise error(
      f"{what} {shown(reference)} cannot be looked up; expected MODULE:NAME, as in "
      "my_package.my_module:Name"
    )
  module, _, name = reference.partition(":")
  found = _imported(module, f"{what} {reference}", error)
  try:
    return getattr(found, name)
  except AttributeError:
    known = [one for one in vars(found) if not one.startswith("_")]
    own = [one for one in known if getattr(vars(found)[one], "__module__", "") == module]
    if len(own or known) > MANY:
      own = difflib.get_close_matches(name, known)
    raise error(
      f"{what} {reference}: module {module} has no '{name}'; {closest(name, own or known[:MANY])}"
    ) from None


def call(function: Callable[..., Any], called: str, error: type[UserError], **given: Any) -> Any:
  """Call a user's function with those arguments that it takes; `error` where it raises anything.

  Args:
    called: what it is and its reference, for messages.
  """
  own = {name: value for name, value in given.items() if takes(function, name)}
  lacking = [
    name
    for name, one in _parameters(function).items()
    if (name not in own or one.kind is inspect.Parameter.POSITIONAL_ONLY)
    and one.default is inspect.Parameter.empty
    and one.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
  ]
  if lacking:
    raise error(
      f"{called} wants an argument '{lacking[0]}'; expected only arguments out of "
      f"{', '.join(given)}, or with a default"
    )
  with guarded(error, f"{called} cannot be used"):
    return function(**own)


@contextlib.contextmanager
def guarded(error: type[UserError], what: str) -> Iterator[None]:
  """Raise `error`, which says `what` and why, where a user's code in the block raises anything."""
  try:
    yield
  except UserError:
    raise
  except Exception as raised:
    raise error(f"{what}: {told(raised)}") from raised


def takes(function: Callable[..., Any], name: str) -> bool:
  """Tell whether a function takes an argument of a name."""
  known = _parameters(function)
  return name in known or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())


def told(raised: BaseException) -> str:
  """Write an exception of a user's code on one line: type, text, and where it was raised."""
  try:
    text = short(str(raised.msg if isinstance(raised, SyntaxError) else raised))
  except Exception:  # exceptions of a user's own may have any fault
    text = ""
  file, line = _raised_at(raised)
  where = f" ({Path(file).name}, line {line})" if file else ""
  return (f"{type(raised).__name__}: {text}" if text else type(raised).__name__) + where


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
  try:
    return inspect.signature(function).parameters
  except (TypeError, ValueError):  # of a builtin that hides it
    return {}


def _imported(module: str, whose: str, error: type[UserError]) -> ModuleType:
  here = os.getcwd()
  if here not in sys.path:
    sys.path.insert(0, here)
    importlib.invalidate_caches()
  try:
    return importlib.import_module(module)
  except KeyboardInterrupt:
    raise
  except BaseException as raised:  # `sys.exit` in a module is a mistake as well
    absent = isinstance(raised, ModuleNotFoundError) and raised.name
    if absent and f"{module}.".startswith(f"{raised.name}."):
      raise error(
        f"{whose}: there is no module {raised.name}; expected one in {here}, on PYTHONPATH, or "
        "installed"
      ) from raised
    raise error(f"{whose} cannot be imported: {told(raised)}") from raised


def _raised_at(raised: BaseException) -> tuple[str, int]:
  """Return file and line of the innermost code that is a user's own, "" where there is none."""
  if isinstance(raised, SyntaxError) and raised.filename:
    return raised.filename, raised.lineno or 0
  frames = [
    (frame.f_code.co_filename, line)
    for frame, line in traceback.walk_tb(raised.__traceback__)
    if not _not_own(frame.f_code.co_filename)
  ]
  return frames[-1] if frames else ("", 0)


def _not_own(file: str) -> bool:
  """Tell whether a file is of Python, of jaxmu, of an installed package, or none at all."""
  folders = Path(file).parts
  return (
    file.startswith("<")
    or any(file.startswith(f"{folder}{os.sep}") for folder in _FOREIGN)
    or any(name in folders for name in INSTALLED)
  )
