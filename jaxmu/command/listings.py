"""Lists of what there is: entries of configs, metrics, data sets, and words for a shell.

jaxmu config                  all entries of a config: types, defaults, meanings
jaxmu config cnn_digits       those of a shipped config, or of a file, with their values
jaxmu metrics                 the columns of rows.parquet
jaxmu datasets                data sets, and what each needs
jaxmu completion bash         a script that completes commands and configs
"""

import argparse

from jaxmu.command import cli, config_file
from jaxmu.errors import SettingsError, closest

SHELLS = {
  "bash": """\
_jaxmu() {{
  local first="${{COMP_WORDS[1]}}" word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  elif [ "$COMP_CWORD" -eq 2 ] && [[ " {studies} config " == *" $first "* ]]; then
    COMPREPLY=($(compgen -W "{configs}" -- "$word") $(compgen -f -- "$word"))
  elif [ "$first" = methods ]; then
    COMPREPLY=($(compgen -W "{methods}" -- "$word"))
  elif [[ "$word" == --* ]]; then
    COMPREPLY=($(compgen -W "{entries}" -S = -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o nospace -F _jaxmu jaxmu""",
}
SHELLS["zsh"] = "autoload -U +X bashcompinit && bashcompinit\n" + SHELLS["bash"]


def main(args: argparse.Namespace) -> None:
  """Print the list that was asked for."""
  VERBS[args.verb](args)


def flags(description: str = __doc__ or "") -> cli.Parser:
  """Return the flags of a list."""
  made = cli.parser(description, config=False)
  made.add_argument("verb", choices=VERBS, help="what to list")
  made.add_argument("name", metavar="NAME", nargs="?", default="", help="one of it")
  form = made.add_mutually_exclusive_group()
  form.add_argument("--json", action="store_true", help="print JSON")
  form.add_argument("--markdown", action="store_true", help="print what stands in docs/")
  return made


def _config(args: argparse.Namespace) -> None:
  from jaxmu.settings import entry_table
  from jaxmu.studies import catalog

  if args.name:
    from jaxmu.settings import Settings

    config = config_file.load_config(args.name)
    if "cells" in config:
      raise SettingsError(f"{args.name} has many studies; `jaxmu benchmark {args.name} --plan`")
    known = Settings.from_config(config, catalog()).to_dict()
    _print(args, known, entry_table.of_config(catalog(), known))
    return
  rows = entry_table.rows(catalog())
  if args.markdown:
    print(entry_table.markdown(catalog()))
    return
  shipped = f"\nconfigs that come with jaxmu: {', '.join(config_file.shipped())}"
  _print(args, [row._asdict() for row in rows], entry_table.text(catalog()) + "\n" + shipped)


def _metrics(args: argparse.Namespace) -> None:
  from jaxmu.audit import metric_table

  if args.markdown:
    print(metric_table.markdown())
    return
  titles = metric_table.titles()
  wide = max(map(len, titles))
  _print(args, titles, "\n".join(f"{name.ljust(wide)}  {text}" for name, text in titles.items()))


def _datasets(args: argparse.Namespace) -> None:
  from jaxmu.data import listing

  rows = listing.rows()
  wide = max(len(row["name"]) for row in rows)
  _print(args, rows, "\n".join(f"{row['name'].ljust(wide)}  {row['about']}" for row in rows))


def _completion(args: argparse.Namespace) -> None:
  from jaxmu import settings
  from jaxmu.command import program
  from jaxmu.unlearning import METHODS

  if args.name not in SHELLS:
    raise SettingsError(f"there is no completion for '{args.name}'; {closest(args.name, SHELLS)}")
  studies = [name for name, command in program.COMMANDS.items() if command.config]
  words = {
    "commands": program.COMMANDS,
    "studies": studies,
    "configs": config_file.shipped(),
    "methods": METHODS,
    "entries": [f"--{name}" for name in settings.schema()],
  }
  print(SHELLS[args.name].format(**{name: " ".join(some) for name, some in words.items()}))


def _print(args: argparse.Namespace, value: object, text: str) -> None:
  if args.json:
    import json

    print(json.dumps(value, indent=1))
  else:
    print(text)


VERBS = {
  "config": _config,
  "metrics": _metrics,
  "datasets": _datasets,
  "completion": _completion,
}
