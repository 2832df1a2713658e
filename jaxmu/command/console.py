"""What can be asked without running anything.

jaxmu methods            all unlearning methods
jaxmu methods msg        one of them: hyper-parameters, ranges, draws, what to know
jaxmu metrics            the columns of rows.parquet
jaxmu datasets           data sets, and what each needs
jaxmu scenarios          rules by which forgotten samples are chosen; with a name all about one
jaxmu config             all entries of a config: types, defaults, meanings
jaxmu config cnn_digits  those of a shipped config, or of a file, with their values
jaxmu status RUN         how far a run is, or all runs of a folder; any number of them
jaxmu completion bash    a script that completes commands and configs
"""

from collections.abc import Collection

from jaxmu.command import cli, config_file
from jaxmu.errors import SettingsError, closest

TABLES = ("methods", "metrics", "scenarios", "config")  # what docs/ has as tables


def main(args) -> None:
  """Print the listing that was asked for."""
  verb = getattr(args, "verb", "methods")
  if args.markdown and (verb not in TABLES or args.names):
    raise SettingsError(
      f"--markdown prints a whole table of docs/; expected {', '.join(TABLES)}, without a NAME"
    )
  VERBS[verb](args)


def _methods(args) -> None:
  from jaxmu.command import listing

  if args.json:
    from jaxmu.unlearning import describe, every, get

    _print(args, {name: describe(get(name)) for name in args.names or every()}, "")
  elif args.markdown:
    print(listing.page(), end="")
  elif args.names:
    print("\n\n".join(listing.details(name) for name in args.names))
  else:
    print(listing.overview())
    print("\nMore about one: jaxmu methods NAME")


def _scenarios(args) -> None:
  from jaxmu.command import scenario_text as text

  if args.json:
    known = text.described()
    _print(args, {name: known[name] for name in _some(args, known, "rule")}, "")
  elif args.markdown:
    print(text.table())
  elif args.names:
    print("\n\n".join(map(text.details, args.names)))
  else:
    print(text.overview())
    print("\nMore about one: jaxmu scenarios NAME")


def _status(args) -> None:
  from jaxmu.command import status_text

  if not args.names:
    raise SettingsError("no run given; expected jaxmu status RUN, or a folder that holds runs")
  status_text.show(args.names, as_json=args.json)


def _config(args) -> None:
  from jaxmu.settings import entry_table
  from jaxmu.studies import catalog

  name = _one(args)
  if name:
    from jaxmu.settings import Settings

    config = config_file.load_config(name)
    if "cells" in config:
      raise SettingsError(f"{name} has many studies; `jaxmu benchmark {name} --plan`")
    known = Settings.from_config(config, catalog()).to_dict()
    _print(args, known, entry_table.of_config(catalog(), known))
    return
  rows = entry_table.rows(catalog())
  if args.markdown:
    print(entry_table.markdown(catalog()))
    return
  shipped = f"\nconfigs that come with jaxmu: {', '.join(config_file.shipped())}"
  _print(args, [row._asdict() for row in rows], entry_table.text(catalog()) + "\n" + shipped)


def _metrics(args) -> None:
  from jaxmu.audit import metric_table

  if args.markdown:
    print(metric_table.markdown())
    return
  known = metric_table.titles()
  titles = {name: known[name] for name in _some(args, known, "column")}
  wide = max(map(len, titles))
  _print(args, titles, "\n".join(f"{name.ljust(wide)}  {text}" for name, text in titles.items()))


def _datasets(args) -> None:
  from jaxmu.data import listing

  known = {row["name"]: row for row in listing.rows()}
  rows = [known[name] for name in _some(args, known, "data set")]
  wide = max(len(row["name"]) for row in rows)
  _print(args, rows, "\n".join(f"{row['name'].ljust(wide)}  {row['about']}" for row in rows))


def _completion(args) -> None:
  from jaxmu.command import completion

  print(completion.script(_one(args)))


def _one(args) -> str:
  """Return the only name that was given, "" for none."""
  if len(args.names) > 1:
    raise SettingsError(f"unexpected argument '{args.names[1]}'; expected one name at most")
  return args.names[0] if args.names else ""


def _some(args, known: Collection[str], kind: str) -> Collection[str]:
  """Return the names that were given, all that are known where there are none."""
  for name in args.names:
    if name not in known:
      raise SettingsError(f"unknown {kind} '{name}'; {closest(name, known)}")
  return args.names or known


def _print(args, value: object, text: str) -> None:
  if args.json:
    import json

    print(json.dumps(value, indent=1))
  else:
    print(text)


VERBS = {
  "methods": _methods,
  "metrics": _metrics,
  "datasets": _datasets,
  "scenarios": _scenarios,
  "config": _config,
  "status": _status,
  "completion": _completion,
}


def flags(script: str = "") -> cli.Parser:
  """Return the command's parser, or that of a script with its own help, which needs no verb."""
  made = cli.parser(script or __doc__, config=False)
  if not script:
    made.add_argument("verb", choices=VERBS, help="what to list")
  made.add_argument("names", metavar="NAME", nargs="*", help="what to describe in full, or runs")
  form = made.add_mutually_exclusive_group()
  form.add_argument("--json", action="store_true", help="print JSON")
  form.add_argument("--markdown", action="store_true", help="print what stands in docs/")
  return made
