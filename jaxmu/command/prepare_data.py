"""Download a data set and prepare it for reading without TensorFlow.

jaxmu prepare cifar10 --data_dir=~/tensorflow_datasets

Needs a network and the `prepare` extra: pip install 'jaxmu[prepare]'.
"""

import argparse
import importlib.util

from jaxmu.command import cli
from jaxmu.data import datasets, tfds_source
from jaxmu.errors import DataError, closest

WRITERS = ("tensorflow", "importlib_resources")  # what tensorflow-datasets writes images with


def main(args: argparse.Namespace) -> None:
  """Prepare the data set named on the command line, unless that is done already."""
  names = list(datasets.TRANSFORMS)
  if args.name in datasets.DATASETS and args.name not in names:
    raise DataError(f"data set '{args.name}' needs no preparation; only {', '.join(names)} do")
  if args.name not in names:
    raise DataError(f"unknown data set '{args.name}'; {closest(args.name, names)}")
  folder = tfds_source.find(args.name, args.data_dir)
  if folder is None:
    missing = [name for name in WRITERS if importlib.util.find_spec(name) is None]
    if missing:
      raise DataError(
        f"{' and '.join(missing)} not installed; tensorflow-datasets needs it to write data sets "
        "(not to read them): run pip install -e '.[prepare]'"
      )
    folder = tfds_source.prepare(args.name, args.data_dir)
  print(f"{args.name} is ready in {folder}")
  print(
    f"next: TFDS_DATA_DIR={tfds_source.data_root(args.data_dir)} python bin/sweep.py --config=..."
  )


def flags(description: str = __doc__ or "") -> cli.Parser:
  """Return the flags of a preparation."""
  made = cli.parser(description, config=False)
  made.add_argument("name", metavar="NAME", help=", ".join(datasets.TRANSFORMS))
  made.add_argument("--data_dir", default="", help="where to (default: TFDS_DATA_DIR, else TFDS's)")
  return made
