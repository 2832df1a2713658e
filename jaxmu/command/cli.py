"""The edge where programs meet the command line: flags, config files, and errors as one line.

A script is `sys.exit(cli.run(main, cli.parser(__doc__)))`. Nothing here touches jax.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence

from jaxmu.command import endings
from jaxmu.command.config_file import OVERRIDE, load_config
from jaxmu.errors import SettingsError, closest
from jaxmu.stopping import Stop

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
