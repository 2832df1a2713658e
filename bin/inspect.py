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

if __name__ == "__main__":
  from jaxmu.command import cli, endings, inspect_run

  endings.leave(cli.run(inspect_run.main, inspect_run.flags(__doc__)))
