"""Write the report of an existing run again, without training anything.

  python bin/report.py checkpoints/cnn_digits-0123abcd
  python bin/report.py checkpoints/cnn_digits-0123abcd --figures docs/figures

Reads only what the run stored, and starts no accelerator.
"""

import argparse
import sys
from pathlib import Path

from jaxmu.command import cli


def main(args: argparse.Namespace) -> None:
  """Write the reports of the runs named on the command line, and the figures if asked for."""
  from jaxmu.store import Run
  from jaxmu.studies import study_of

  runs = [Run.open(path) for path in args.run]
  for run in runs:
    study = study_of(run)
    written = study.report(run)
    if args.figures:
      written += study.figures(run, Path(args.figures))
    print("\n".join(map(str, written)))


if __name__ == "__main__":
  flags = cli.parser(__doc__, config=False)
  flags.add_argument("run", nargs="+", metavar="RUN", help="run directory below checkpoints/")
  flags.add_argument("--figures", metavar="FOLDER", help="write each figure there as an SVG file")
  sys.exit(cli.run(main, flags))
