"""Config files: found by path or by name, executed, and overridden entry by entry from text."""

import ast
import runpy
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxmu import settings
from jaxmu.command import endings
from jaxmu.errors import SettingsError, UserError, closest, short, shown

if TYPE_CHECKING:
  from ml_collections import ConfigDict

OVERRIDE = "--config."


def load_config(spec: str, overrides: Sequence[tuple[str, str]] = ()) -> "ConfigDict":
  """Load `FILE` or `FILE:ARGUMENT` and apply overrides (dotted key, text).

  Raises:
    SettingsError: there is no such file, it raises anything, or an override is wrong.
  """
  name, _, argument = spec.partition(":")
  file = _found(name)
  _check_file(file)
  try:
    config = _execute(file, argument)
  except KeyboardInterrupt:
    raise
  except BaseException as error:  # `sys.exit` in a config file is a mistake as well
    if absent := endings.not_installed(error):
      raise SettingsError(absent) from error
    line = _line(error, file)
    where = f"config file {file}" + (f", line {line}," if line else "")
    where += f" with argument '{argument}'" if argument else ""
    raise SettingsError(f"{where} cannot be used: {_words(error)}") from error
  for key, text in overrides:
    try:
      for each in _studies(config, key):
        _override(each, key, text)
    except UserError:
      raise
    except Exception as error:  # frozen configs, references in circles ...
      raise SettingsError(
        f"--config.{key} cannot be set in config file {file}: {_words(error)}"
      ) from error
  return config


def _studies(config: "ConfigDict", key: str) -> Iterator["ConfigDict"]:
  """Yield what an override goes to: a config, or all studies of a matrix."""
  if "cells" not in config:
    yield config
    return
  if key in config:  # such as output_dir, for what all of them share
    yield config
  for cell in config.cells.values():
    yield from cell.values()


def shipped() -> list[str]:
  """Name the configs that come with jaxmu."""
  return sorted(path.stem for path in _folder().glob("*.py"))


def _found(name: str) -> str:
  """Return the file of a config that is named by a path, or as one that comes with jaxmu."""
  if Path(name).suffix or len(Path(name).parts) != 1 or Path(name).is_file():
    return name
  if name not in shipped():
    raise SettingsError(
      f"there is no config '{name}'; {closest(name, shipped())}. Or give a file: FILE.py"
    )
  return str(_folder() / f"{name}.py")


def _folder() -> Path:
  """Return where the configs lie: in the installed package, or beside it in a source tree."""
  package = Path(__file__).parents[1]
  inside = package / "configs"
  return inside if inside.is_dir() else package.parent / "configs"


def _check_file(file: str) -> None:
  path = Path(file)
  try:
    if path.is_file():
      return
    others = [str(path.parent / p.name) for p in path.parent.glob("*.py")]
    folder = path.is_dir()
  except OSError as error:
    raise SettingsError(f"config file {shown(file)} cannot be read: {error.strerror}") from error
  if folder:
    raise SettingsError(f"config file {shown(file)} is a folder; expected a Python file")
  raise SettingsError(
    f"config file {file} does not exist; {closest(file, others) if others else 'check the path'}"
  )


def _execute(file: str, argument: str) -> "ConfigDict":
  """Run a config file; whatever it raises is passed on."""
  from ml_collections import ConfigDict

  get_config = runpy.run_path(file).get("get_config")
  if get_config is None:
    raise TypeError("it has no get_config(), which returns an ml_collections.ConfigDict")
  config = get_config(argument) if argument else get_config()
  if not isinstance(config, ConfigDict | Mapping):
    raise TypeError(f"get_config returns {shown(config)}; expected an ml_collections.ConfigDict")
  return ConfigDict(config)


def _line(error: BaseException, file: str) -> int | None:
  """Find the last line of a file that an exception went through, or that cannot be parsed."""
  if isinstance(error, SyntaxError) and error.filename == file:
    return error.lineno
  lines = [
    line
    for frame, line in traceback.walk_tb(error.__traceback__)
    if frame.f_code.co_filename == file
  ]
  return lines[-1] if lines else None


def _words(error: BaseException) -> str:
  """Write an exception as its type and its text, where it has one that can be had."""
  try:
    text = str(error.msg if isinstance(error, SyntaxError) else error)  # its line is told apart
  except Exception:  # exceptions of a user's own may have any fault
    text = ""
  return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _override(config: "ConfigDict", key: str, text: str) -> None:
  """Set one entry of a config from text, in the type that the settings expect there."""
  from ml_collections import ConfigDict

  kind = _kind(key)
  value = literal(text) if kind is None else parse_text(f"config.{key}", text, kind)
  *sections, last = key.split(".")
  for depth, section in enumerate(sections):
    if section not in config:  # the settings have defaults for what a file leaves out
      with config.unlocked():
        config[section] = ConfigDict()
    config = config[section]
    if not isinstance(config, ConfigDict):
      path = ".".join(["config", *sections[: depth + 1]])
      raise SettingsError(f"{path} is {shown(config)} in the config file; expected a section")
  with config.unlocked(), config.ignore_type():  # the settings check types, with better messages
    config[last] = value


def _kind(key: str) -> type | None:
  """Find the type of a dotted entry in the settings; None for a method's hyper-parameter."""
  names = key.split(".")
  if names[0] == "unlearning":
    if len(names) != 3 or not all(names):
      raise SettingsError(
        f"{OVERRIDE}{key} names no hyper-parameter; expected "
        f"{OVERRIDE}unlearning.METHOD.HYPERPARAMETER=VALUE"
      )
    return None
  kind, path = settings.schema(), "config"
  for name in names:
    if not isinstance(kind, dict):
      raise SettingsError(f"{path} is a single value; it has no entry '{name}'")
    if name not in kind:
      raise SettingsError(f"{path} has no entry '{name}'; {closest(name, kind)}")
    kind, path = kind[name], f"{path}.{name}"
  if isinstance(kind, dict):
    raise SettingsError(f"{path} is a section; expected one of its entries: --{path}.ENTRY=VALUE")
  return kind


def parse_text(path: str, text: str, kind: type) -> Any:
  """Read a command line's text as `kind` (bool, int, float, str, or a tuple of anything)."""
  if kind is str:
    return text
  if kind is tuple:
    return tuple(
      literal(part.strip(" '\"")) for part in text.strip("()[] ").split(",") if part.strip()
    )
  if kind is bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() in known:
      return known[text.lower()]
    raise SettingsError(f"--{path}={short(text)}: expected true or false")
  try:
    return kind(text)
  except ValueError as error:
    expected = "a whole number" if kind is int else "a number"
    raise SettingsError(f"--{path}={short(text)}: expected {expected}") from error


def literal(text: str) -> Any:
  """Read a number, True or False; anything else is text."""
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: nested too deeply
    return {"true": True, "false": False}.get(text, text)
  return value if isinstance(value, (bool, int, float)) else text
