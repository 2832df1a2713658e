"""Run the whole benchmark, or any part of it: cells, each with its search, and shadow models.

  jaxmu benchmark matrix --plan --gpus=8,64
  jaxmu benchmark matrix:small --workers=2
  jaxmu benchmark matrix --part=cifar10_resnet18
  jaxmu benchmark matrix --part=cifar10_resnet18/search --config.seeds=0

An override (--config.ENTRY=VALUE) goes to every part. The same command goes on where it stopped,
and any number of processes that run it share the work. Where benchmarks of several cells are done,
one report shows them together. Exit codes as those of `jaxmu run`.
"""

import argparse
import functools
import json
import sys

from jaxmu.command import cli, makespan_flags, submission
from jaxmu.engine import runtime
from jaxmu.stopping import parse_duration


def flags(description: str = __doc__ or "") -> cli.Parser:
  """Return the flags of a benchmark of many cells."""
  made = cli.parser(description)
  add = made.add_argument
  add("--plan", action="store_true", help="print models, work and time of every part, run nothing")
  add("--json", action="store_true", help="with --plan: print it as JSON")
  add("--part", metavar="CELL[/PART]", default="", help="only this cell, or this part of one")
  add("--images-per-second", type=float, metavar="N", help="training speed that --plan assumes")
  makespan_flags.add(made)
  add("--workers", type=int, metavar="N", help="share the work among N processes on this machine")
  add("--stop-after", metavar="55m", help="stop by then, saved; the same command goes on")
  submission.add_flags(made)
  return made


def main(args: argparse.Namespace) -> int:
  """Run, plan or submit what was asked for; return the exit code."""
  from jaxmu.studies import matrix

  every = matrix.by_key(matrix.parts(args.config))
  chosen = matrix.parts(args.config, args.part)
  if args.plan:
    from jaxmu.command import matrix_text

    asked = makespan_flags.asked(args.gpus, args.start_seconds)
    found = list(matrix.plans(chosen, every, args.images_per_second))
    told = matrix_text.as_json(found, asked) if args.json else matrix_text.render(found, asked)
    print(json.dumps(told, indent=1) if args.json else told)
    return 0
  if args.submit:
    return submission.submit(args, chosen)
  if args.stop_after:
    args.stop.limit(parse_duration(args.stop_after))
  if args.workers is not None:
    from jaxmu.command import workers

    words = cli.again(cli.without(sys.argv, "--workers", "--stop-after"))
    workers.share(words, args.workers, args.stop)
  runtime.configure(matrix.settings(chosen[0], every).population.devices)
  from jaxmu import report, studies

  command = cli.written(sys.argv)
  say = functools.partial(print, file=sys.stderr, flush=True)
  work = functools.partial(studies.run, command=command, stop=args.stop)
  runs = matrix.run(chosen, every, work, say)
  for key, run in runs.items():
    print(f"{key}: {run.path / 'report.html'}")
  together = matrix.cell_runs(runs)
  if len(together) > 1:
    from jaxmu.report import cells

    written = report.write(matrix.folder(args.config), cells.report(together))
    print(f"all cells: {written[-1]}")
  return 0
