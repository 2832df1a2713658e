"""Show what a run, or one group or checkpoint of it, holds: members, progress, arrays, accuracies.

  python bin/inspect.py checkpoints/cnn_digits-1a2b3c4d
  python bin/inspect.py checkpoints/cnn_digits-1a2b3c4d/stages/msg/0-9-5e6f7a8b --norms
  python bin/inspect.py checkpoints/cnn_digits-1a2b3c4d --status

Reads metadata only; --norms also reads the arrays.
"""

import os
import sys

# Python puts this folder on its path, where this file would hide the standard library's `inspect`
# from every script beside it. Whoever imports it under that name gets the library's module.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
if __name__ == "inspect":
  del sys.modules["inspect"]
  __import__("inspect")


def main(args):
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


if __name__ == "__main__":
  from jaxmu.command import cli

  flags = cli.parser(__doc__, config=False)
  flags.add_argument("path", metavar="PATH", help="a run directory, or a checkpoint inside one")
  flags.add_argument("--norms", action="store_true", help="read the arrays and print L2 norms")
  flags.add_argument("--status", action="store_true", help="how far a run is, as `jaxmu status`")
  flags.add_argument("--json", action="store_true", help="print JSON")
  sys.exit(cli.run(main, flags))
