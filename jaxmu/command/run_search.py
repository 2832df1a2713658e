"""Search for hyper-parameters: trials as populations, chosen configurations on fresh seeds.

  jaxmu search search_digits
  jaxmu search search_digits --config.methods=ft,msg --workers=2
  jaxmu search search_digits --export=tuned

Running the same command again goes on where it stopped: trials that are done are told to the
sampler again, which then draws the same ones as before. What was found is used by
--config.tuned=RUN (or a folder made by --export) in any other study. Exit codes as those of
`jaxmu run`.
"""

import argparse
import sys

from jaxmu.command import cli, run_study
from jaxmu.errors import SettingsError


def flags(description: str = __doc__ or "") -> cli.Parser:
  """Return the flags of a search."""
  made = run_study.flags(description)
  made.add_argument(
    "--export",
    metavar="FOLDER",
    default="",
    help="write what was chosen as FOLDER/METHOD.json as well, one file a method",
  )
  return made


def main(args: argparse.Namespace) -> int:
  """Run a search, and export what it chose."""
  if args.config.get("study") != "search":
    raise SettingsError(
      "this config is of no search (config.study is not 'search'); run it by bin/sweep.py, or take "
      "one of configs/search_*.py"
    )
  code = run_study.main(args)
  if code == 0 and args.export:
    _export(args)
  return code


def _export(args: argparse.Namespace) -> None:
  from jaxmu.settings import Settings
  from jaxmu.store import Run, tuned
  from jaxmu.store.run import directory
  from jaxmu.studies import catalog

  known = Settings.from_config(args.config, catalog())
  run = Run.open(directory(known.output_dir, known.name, known.hash8))
  for path in tuned.export(run, args.export):
    print(path, file=sys.stderr)
