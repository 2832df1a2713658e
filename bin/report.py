"""Write the report of an existing run again, without training anything.

  python bin/report.py checkpoints/cnn_digits-0123abcd
  python bin/report.py checkpoints/cnn_digits-0123abcd --figures docs/figures

Reads only what the run stored, and starts no accelerator.
"""

import argparse
import sys

from jaxmu.command import cli


def main(args: argparse.Namespace) -> None:
  """Write the reports of the runs named on the command line, and the figures if asked for."""
  from jaxmu import report
  from jaxmu.report import study
  from jaxmu.store import Run

  runs = [Run.open(path) for path in args.run]
  for run in runs:
    kind = study if (run.path / "study.json").is_file() else report
    written = kind.write(run)
    if args.figures:
      written += kind.write_figures(run, args.figures)
    print("\n".join(map(str, written)))


if __name__ == "__main__":
  flags = cli.parser(__doc__, config=False)
  flags.add_argument("run", nargs="+", metavar="RUN", help="run directory below checkpoints/")
  flags.add_argument("--figures", metavar="FOLDER", help="write each figure there as an SVG file")
  sys.exit(cli.run(main, flags))
