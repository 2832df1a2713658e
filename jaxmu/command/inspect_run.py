"""Show what a run, or one group or checkpoint of it, holds: members, progress, arrays, accuracies.

  jaxmu inspect checkpoints/cnn_digits-1a2b3c4d
  jaxmu inspect checkpoints/cnn_digits-1a2b3c4d/stages/msg/0-9-5e6f7a8b --norms
  jaxmu inspect checkpoints/cnn_digits-1a2b3c4d --status

Reads metadata only; --norms also reads the arrays.
"""

import argparse

from jaxmu.command import cli


def main(args: argparse.Namespace) -> None:
  """Show what was asked for."""
  if args.status:
    from jaxmu.command import status_text

    return status_text.show([args.path], as_json=args.json)
  from jaxmu.command import inspection_text
  from jaxmu.store import inspection

  about = inspection.inspect(args.path, norms=args.norms)
  if args.json:
    import json

    print(json.dumps(about, indent=1))
    return None
  from rich.console import Console

  console = Console(markup=False, highlight=False)
  if not console.is_terminal:
    console.width = 120
  inspection_text.render(about, console)
  return None


def flags(description: str = __doc__ or "") -> cli.Parser:
  """Return the flags of an inspection."""
  made = cli.parser(description, config=False)
  made.add_argument("path", metavar="PATH", help="a run directory, or a checkpoint inside one")
  made.add_argument("--norms", action="store_true", help="read the arrays and print L2 norms")
  made.add_argument("--status", action="store_true", help="how far a run is, as `jaxmu status`")
  made.add_argument("--json", action="store_true", help="print JSON")
  return made
