"""Write the report of an existing run again, or put several on one page, without training.

  jaxmu report checkpoints/cnn_digits-0123abcd
  jaxmu report checkpoints/cnn_digits-0123abcd checkpoints/cnn_digits-4567ef01
  jaxmu report checkpoints/cnn_digits-0123abcd --figures docs/figures
  jaxmu report checkpoints/cnn_mnist-0123abcd checkpoints/cnn_cifar10-89abcdef --cells

Reads only what the run stored, and starts no accelerator.
"""

import argparse
from pathlib import Path

from jaxmu.command import cli, report_flags


def main(args: argparse.Namespace) -> None:
  """Write the report of the runs named on the command line, and its figures if asked for."""
  from jaxmu import report
  from jaxmu.store import Run
  from jaxmu.studies import study_of

  runs = [Run.open(path) for path in args.run]
  asked = report_flags.asked(args)
  for run in runs:
    run.config = {**run.config, "report": {**run.config.get("report", {}), **asked}}
  short = len({run.path.name for run in runs}) == len(runs)
  named = {run.path.name if short else str(run.path): run for run in runs}
  beside = runs[0].path.parent
  if args.cells:
    from jaxmu.report import cells

    whole, folder = cells.report(named), beside / report.folder(named, "cells")
  elif len(runs) > 1:
    whole = report.compare({name: study_of(run).report(run) for name, run in named.items()})
    folder = beside / report.folder(named)
  else:
    whole, folder = study_of(runs[0]).report(runs[0]), runs[0].path
  written = report.write(Path(args.output or folder), whole)
  if args.figures:
    written += report.write_figures(whole, args.figures)
  print("\n".join(map(str, written)))


def flags(description: str = __doc__ or "") -> cli.Parser:
  """Return the flags of a report."""
  made = cli.parser(description, config=False)
  made.add_argument("run", nargs="+", metavar="RUN", help="run directory below checkpoints/")
  made.add_argument(
    "--cells",
    action="store_true",
    help="show several benchmarks, of other data sets or networks, as cells of one: groups of "
    "methods over all of them",
  )
  made.add_argument("--output", metavar="FOLDER", help="where to write (default: into the run)")
  made.add_argument(
    "--figures", metavar="FOLDER", help="write each figure there as .pdf, .svg and .png"
  )
  report_flags.add(made)
  return made
