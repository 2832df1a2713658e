"""The edge where programs meet the command line: flags, config files, and errors as one line.

A script is `sys.exit(cli.run(main, cli.parser(__doc__)))`. Nothing here touches jax.
"""

import argparse
import ast
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from jaxmu import settings
from jaxmu.errors import SettingsError, UserError, closest

OVERRIDE = "--config."
INTERRUPTED = 130  # what shells report for Ctrl-C
MISTAKES = (SyntaxError, ImportError, NameError, AttributeError, LookupError, TypeError, ValueError)
EPILOG = (
  "Any entry of the config can be overridden: --config.training.num_epochs=5 "
  "--config.methods=msg,ct --config.seeds=0,1,2"
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

  A user's mistake becomes one line on stderr and code 2, an interruption one line and code 130.
  """
  try:
    return main(parse(flags, sys.argv[1:] if argv is None else argv)) or 0
  except UserError as error:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return 2
  except BrokenPipeError:  # the reader of our output went away, as `head` does
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except KeyboardInterrupt:
    print("interrupted; run the same command again to resume where it stopped", file=sys.stderr)
    return INTERRUPTED


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


def load_config(spec: str, overrides: Sequence[tuple[str, str]] = ()) -> ml_collections.ConfigDict:
  """Load `FILE` or `FILE:ARGUMENT` and apply overrides (dotted key, text)."""
  file, _, argument = spec.partition(":")
  path = Path(file)
  if not path.is_file():
    others = [str(path.parent / p.name) for p in path.parent.glob("*.py")]
    raise SettingsError(
      f"config file {file} does not exist; {closest(file, others) if others else 'check the path'}"
    )
  try:
    get_config = runpy.run_path(file)["get_config"]
    config = get_config(argument) if argument else get_config()
    config = ml_collections.ConfigDict(config)
  except UserError:
    raise
  except MISTAKES as error:
    where = f"config file {file}" + (f" with argument '{argument}'" if argument else "")
    raise SettingsError(f"{where} cannot be used: {type(error).__name__}: {error}") from error
  for key, text in overrides:
    _override(config, key, text)
  return config


def _override(config: ml_collections.ConfigDict, key: str, text: str) -> None:
  """Set one entry of a config from text, in the type that the settings expect there."""
  kind = _kind(key)
  value = literal(text) if kind is None else parse_text(f"config.{key}", text, kind)
  *sections, last = key.split(".")
  for depth, section in enumerate(sections):
    if section not in config:  # the settings have defaults for what a file leaves out
      with config.unlocked():
        config[section] = ml_collections.ConfigDict()
    config = config[section]
    if not isinstance(config, ml_collections.ConfigDict):
      path = ".".join(["config", *sections[: depth + 1]])
      raise SettingsError(f"{path} is {config!r} in the config file; expected a section")
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
    raise SettingsError(f"--{path}={text}: expected true or false")
  try:
    return kind(text)
  except ValueError as error:
    expected = "a whole number" if kind is int else "a number"
    raise SettingsError(f"--{path}={text}: expected {expected}") from error


def literal(text: str) -> Any:
  """Read a number, True or False; anything else is text."""
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return {"true": True, "false": False}.get(text, text)
  return value if isinstance(value, (bool, int, float)) else text
