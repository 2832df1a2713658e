"""The edge where programs meet the command line: flags, config files, and errors as one line.

A script is `sys.exit(cli.run(main, cli.parser(__doc__)))`. Nothing here touches jax.
"""

import argparse
import ast
import runpy
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxmu import settings
from jaxmu.command import endings
from jaxmu.errors import SettingsError, UserError, closest, short, shown
from jaxmu.stopping import Stop

if TYPE_CHECKING:
  from ml_collections import ConfigDict

OVERRIDE = "--config."
PROGRAM = "jaxmu"  # the first word of a command line of the installed command
EPILOG = (
  "Any entry of the config can be overridden: --config.training.num_epochs=5 "
  "--config.methods=msg,ct --config.seeds=0..9"
)


class Parser(argparse.ArgumentParser):
  """An argument parser whose complaints are ordinary user errors."""

  def error(self, message: str) -> None:
    """Raise `SettingsError` instead of printing usage and exiting."""
    raise SettingsError(f"{message}; see --help")


def parser(description: str, *, config: bool = True) -> Parser:
  """Make a script's parser; a script adds its own flags. With `config`, it takes --config=FILE."""
  made = Parser(
    description=description.strip(),
    epilog=EPILOG if config else None,
    allow_abbrev=False,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  if config:
    made.add_argument("--config", metavar="FILE[:ARGUMENT]", help="config file (Python)")
  return made


def run(
  main: Callable[[argparse.Namespace], int | None],
  flags: argparse.ArgumentParser,
  argv: Sequence[str] | None = None,
) -> int:
  """Parse, load the config into `args.config`, call `main(args)`, and return the exit code.

  `args.stop` knows whether a signal came. What a user can cause becomes one line and a code, see
  `endings`.
  """
  endings.print_anything()
  stop = Stop()
  try:
    with stop.install():
      args = parse(flags, sys.argv[1:] if argv is None else argv)
      args.stop = stop
      code = main(args) or 0
      endings.flush()
      return code
  except (Exception, KeyboardInterrupt) as error:
    return endings.told(error)


def parse(flags: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
  """Parse a command line; where the script takes a config, `args.config` is the loaded one."""
  rest, overrides = split_overrides(argv)
  args, unknown = flags.parse_known_args(rest)
  options = [o for action in flags._actions for o in action.option_strings]
  for word in unknown:
    if word.startswith("-"):
      flag = word.split("=")[0]
      raise SettingsError(f"unknown flag {flag}; {closest(flag, options)}")
    raise SettingsError(f"unexpected argument '{word}'; see --help")
  if "--config" in options:
    if args.config is None:
      raise SettingsError("no config given; expected --config=FILE, as in configs/cnn_digits.py")
    args.config = load_config(args.config, overrides)
  elif overrides:
    raise SettingsError(f"{OVERRIDE}{overrides[0][0]}: this program takes no config; see --help")
  return args


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
  """Separate `--config.a.b=value` (or `--config.a.b value`) from all other words."""
  rest, overrides = [], []
  words = list(argv)
  while words:
    word = words.pop(0)
    if not word.startswith(OVERRIDE):
      rest.append(word)
      continue
    key, equals, text = word.removeprefix(OVERRIDE).partition("=")
    if not equals:
      if not words or words[0].startswith("--"):
        raise SettingsError(f"{word} has no value; expected {word}=VALUE")
      text = words.pop(0)
    overrides.append((key, text))
  return rest, overrides


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


def again(argv: Sequence[str]) -> list[str]:
  """Return the command that starts this program with a command line, its name first."""
  if argv[0] == PROGRAM:
    return [sys.executable, "-m", PROGRAM, *argv[1:]]
  return [sys.executable, *argv]


def written(argv: Sequence[str]) -> str:
  """Return the same as a user types it."""
  return shlex.join(argv if argv[0] == PROGRAM else ["python", *argv])


def without(argv: Sequence[str], *flags: str) -> list[str]:
  """Return a command line without flags that take a value, and without their values."""
  kept, words = [], iter(argv)
  for word in words:
    name, equals, _ = word.partition("=")
    if name not in flags:
      kept.append(word)
    elif not equals:
      next(words, None)
  return kept


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

  get_config = runpy.run_path(file)["get_config"]
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
