"""Download a data set and prepare it for reading without TensorFlow.

python bin/prepare_data.py cifar10 --data_dir=~/tensorflow_datasets

Needs a network and the `prepare` extra: pip install 'jaxmu[prepare]'.
"""

import argparse
import importlib.util
import sys

from jaxmu import cli
from jaxmu.data import datasets, tfds_source
from jaxmu.errors import DataError, closest


def main(args: argparse.Namespace) -> None:
  """Prepare the data set named on the command line, unless that is done already."""
  names = list(datasets.TRANSFORMS)
  if args.name in datasets.DATASETS and args.name not in names:
    raise DataError(f"data set '{args.name}' needs no preparation; only {', '.join(names)} do")
  if args.name not in names:
    raise DataError(f"unknown data set '{args.name}'; {closest(args.name, names)}")
  folder = tfds_source.find(args.name, args.data_dir)
  if folder is None:
    if importlib.util.find_spec("tensorflow") is None:
      raise DataError(
        "tensorflow is not installed, and tensorflow-datasets writes image data sets only with it; "
        "run pip install 'jaxmu[prepare]' (reading them does not need it)"
      )
    folder = tfds_source.prepare(args.name, args.data_dir)
  print(f"{args.name} is ready in {folder}")
  print(
    f"next: TFDS_DATA_DIR={tfds_source.data_root(args.data_dir)} python bin/sweep.py --config=..."
  )


if __name__ == "__main__":
  flags = cli.parser(__doc__, config=False)
  flags.add_argument("name", metavar="NAME", help=", ".join(datasets.TRANSFORMS))
  flags.add_argument(
    "--data_dir", default="", help="where to (default: TFDS_DATA_DIR, else TFDS's)"
  )
  sys.exit(cli.run(main, flags))
