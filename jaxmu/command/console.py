"""The command `jaxmu`: what can be asked without running anything.

jaxmu methods        all unlearning methods
jaxmu methods msg    one of them: hyper-parameters, ranges, draws, what to know
jaxmu scenarios      rules by which forgotten samples are chosen; with a name all about one
jaxmu status RUN     how far a run is, or all runs of a folder; any number of them
"""

from jaxmu.command import cli
from jaxmu.errors import SettingsError


def main(args) -> None:
  """Print the listing that was asked for."""
  VERBS[getattr(args, "verb", "methods")](args)


def _methods(args) -> None:
  from jaxmu.command import listing

  if args.json:
    import json

    from jaxmu.unlearning import METHODS, describe, get

    names = args.names or METHODS
    print(json.dumps({name: describe(get(name)) for name in names}, indent=1))
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
    import json

    known = text.described()
    print(
      json.dumps({name: known[name] for name in known if name in (args.names or known)}, indent=1)
    )
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
  if args.markdown:
    raise SettingsError("--markdown prints what stands in docs/; a status has text and --json")
  status_text.show(args.names, as_json=args.json)


VERBS = {"methods": _methods, "scenarios": _scenarios, "status": _status}


def flags(script: str = "") -> cli.Parser:
  """Return the command's parser, or that of a script with its own help, which needs no verb."""
  made = cli.parser(script or __doc__, config=False)
  if not script:
    made.add_argument("verb", choices=VERBS, help="what to list")
  made.add_argument(
    "names", metavar="NAME", nargs="*", help="methods or rules to describe in full, or runs"
  )
  form = made.add_mutually_exclusive_group()
  form.add_argument("--json", action="store_true", help="print JSON")
  form.add_argument("--markdown", action="store_true", help="print what stands in docs/")
  return made
