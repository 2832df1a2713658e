"""The command `jaxmu`: everything that the programs in bin/ do, from wherever it is installed.

  jaxmu run cnn_digits --methods=msg,ct --seeds=0-9    run a study, or what is left of it
  jaxmu plan cnn_digits                                what it will take, and what is done
  jaxmu status checkpoints/cnn_digits-1a2b3c4d         how far it is
  jaxmu methods msg                                    all about a method

A study is named by a config that comes with jaxmu (`jaxmu config` lists them) or by a file, with an
argument after a colon. Its entries may be set as --ENTRY=VALUE, which is --config.ENTRY=VALUE.
`jaxmu COMMAND --help` tells all about one.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from jaxmu.command import cli, endings
from jaxmu.errors import SettingsError, closest


class Command(NamedTuple):
  """A command: the module that has its `main` and `flags`, what it does, words put before."""

  module: str
  about: str
  config: bool = False  # whether its first word is a config
  words: tuple[str, ...] = ()


COMMANDS = {
  "run": Command("run_study", "run a study, or what is left of it", True),
  "plan": Command("run_study", "what a study will take, and what of it is done", True, ("--plan",)),
  "search": Command("run_search", "search for hyper-parameters, and export them", True),
  "benchmark": Command("run_matrix", "run cells of a benchmark, each with its search", True),
  "status": Command("console", "how far runs are", words=("status",)),
  "report": Command("make_report", "write a report again, or put several on one page"),
  "inspect": Command("inspect_run", "what a run or a checkpoint holds"),
  "evaluate": Command("evaluate", "did it work? judge models by their logits, verify evidence"),
  "methods": Command("console", "unlearning methods", words=("methods",)),
  "metrics": Command("console", "what is measured", words=("metrics",)),
  "datasets": Command("console", "data sets, and what each needs", words=("datasets",)),
  "scenarios": Command("console", "rules for who is forgotten", words=("scenarios",)),
  "config": Command("console", "entries of a config; with a name those of one", words=("config",)),
  "prepare": Command("prepare_data", "download a data set"),
  "work": Command("work", "work one task of a submission"),
  "completion": Command("console", "a script for bash or zsh", words=("completion",)),
}


def run(argv: Sequence[str] | None = None) -> None:
  """Entry point: run the command that the first word names, and end with its exit code."""
  words = list(sys.argv[1:] if argv is None else argv)
  name = words.pop(0) if words else "--help"
  if name in ("-h", "--help"):
    print(overview())
    endings.leave(0)
  if name == "--version":
    from importlib import metadata

    print(f"jaxmu {metadata.version('jaxmu')}")
    endings.leave(0)
  if name not in COMMANDS:
    unknown = SettingsError(f"there is no command '{name}'; {closest(name, COMMANDS)}")
    endings.leave(endings.told(unknown))
  chosen = COMMANDS[name]
  module = importlib.import_module(f"jaxmu.command.{chosen.module}")
  flags = module.flags()
  flags.prog = f"jaxmu {name}"
  sys.argv = [cli.PROGRAM, name, *words]
  if chosen.config:
    try:
      words = with_config(words, [o for action in flags._actions for o in action.option_strings])
    except SettingsError as error:
      endings.leave(endings.told(error))
  endings.leave(cli.run(module.main, flags, [*chosen.words, *words]))


def overview() -> str:
  """Return the help of the command as a whole."""
  wide = max(map(len, COMMANDS))
  lines = [f"  {name.ljust(wide)}  {command.about}" for name, command in COMMANDS.items()]
  return "\n".join(((__doc__ or "").strip(), "", "commands:", *lines))


def with_config(words: Sequence[str], flags: Sequence[str]) -> list[str]:
  """Write a config and its entries as the programs in bin/ take them.

  Args:
    words: of a command line, such as `cnn_digits --seeds=0-9`.
    flags: those of the program, which are no entries.

  Raises:
    SettingsError: a word is neither a flag nor an entry.
  """
  from jaxmu import settings

  known, found = settings.schema(), []
  for position, word in enumerate(words):
    flag = word.partition("=")[0]
    entry = flag.removeprefix("--").partition(".")[0]
    if not position and not word.startswith("-"):
      found.append(f"--config={word}")
    elif not word.startswith("--") or flag in flags or entry == "config":
      found.append(word)
    elif entry in known:
      found.append(f"--config.{word.removeprefix('--')}")
    else:
      either = [*flags, *(f"--{name}" for name in known)]
      raise SettingsError(f"unknown flag or entry {flag}; {closest(f'--{entry}', either)}")
  return found
