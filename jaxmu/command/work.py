"""Work one task of a submission: what engines start, once for each task.

  python -m jaxmu.command.work RUN/submissions/1a2b3c4d.json --job=cnn_digits/methods --index=3

Without --index the task's number is in the variable that the engine sets. Exit codes: 0 done (also
before), 2 a mistake, 69 what it needs is missing, 75 come again.
"""

import argparse
import functools
import os
import sys
from pathlib import Path

from jaxmu.command import cli, endings
from jaxmu.engine import runtime
from jaxmu.errors import SettingsError


def flags() -> cli.Parser:
  """Return the flags of a task."""
  made = cli.parser(__doc__, config=False)
  made.add_argument("path", metavar="FILE", help="a submission, as `--submit` writes it")
  made.add_argument("--job", metavar="NAME", required=True, help="which of its jobs")
  made.add_argument("--index", metavar="N", type=int, help="which task of it, from 0")
  return made


def main(args: argparse.Namespace) -> int:
  """Work the task."""
  from jaxmu.launch import order
  from jaxmu.store import submissions

  submission = submissions.read(Path(args.path))
  order.check_versions(submission)
  job = submission.job(args.job)
  number = order.index() if args.index is None else args.index
  if not 0 <= number < len(job.tasks):
    raise SettingsError(f"job {job.name} has tasks 0 to {len(job.tasks) - 1}; there is no {number}")
  os.chdir(submission.folder)
  from jaxmu.studies import submitted

  task = job.tasks[number]
  first = next((item for item in task.items if item.do != submissions.TABLES), task.items[0])
  if first.do != submissions.REPORT:
    runtime.configure(submitted.devices(submission, first.part))
  say = functools.partial(print, file=sys.stderr, flush=True)
  submitted.work(submission, task, args.stop, say)
  return 0


if __name__ == "__main__":
  endings.leave(cli.run(main, flags()))
