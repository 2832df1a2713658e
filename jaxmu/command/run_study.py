"""Run a study: train, unlearn, attack and report populations of models.

  jaxmu run cnn_digits
  jaxmu run cnn_digits --methods=msg,ct --seeds=0-9 --workers=2
  jaxmu run resnet18_cifar10:mini --data_dir=~/tensorflow_datasets
  jaxmu plan resnet18_cifar10

Running the same command again continues where it stopped; several processes that run it at once
share the work. Exit codes: 0 done, 2 a mistake in what was asked, 69 a unit lacks what it starts
from, 75 stopped or held elsewhere (come again), 130 Ctrl-C.
"""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from jaxmu.command import cli, makespan_flags, submission
from jaxmu.engine import runtime
from jaxmu.errors import SettingsError
from jaxmu.stopping import parse_duration

if TYPE_CHECKING:
  from jaxmu.settings import Settings


def flags(description: str = __doc__ or "") -> cli.Parser:
  """Return the flags of a program that runs a study."""
  made = cli.parser(description)
  add = made.add_argument
  add("--plan", action="store_true", help="print units, cost and progress, run nothing")
  add("--json", action="store_true", help="with --plan: print it as JSON")
  add(
    "--images-per-second",
    type=float,
    metavar="N",
    help="training speed of the whole machine that --plan assumes (default: what this study's "
    "finished units reached, or else 2 CPU cores)",
  )
  makespan_flags.add(made)
  add("--workers", type=int, metavar="N", help="share the work among N processes on this machine")
  add("--prepare", action="store_true", help="make the run directory, train nothing")
  add("--unit", metavar="STAGE/GROUP", default="", help="work one unit of the plan, then end")
  add("--only-units", action="store_true", help="work units, but write no tables and no report")
  add("--repair", action="store_true", help="delete damaged units first; they are made anew")
  add("--stop-after", metavar="55m", help="stop by then, saved; the same command goes on")
  submission.add_flags(made)
  return made


def main(args: argparse.Namespace) -> int:
  """Run what was asked for; return the exit code."""
  from jaxmu.settings import Settings
  from jaxmu.studies import catalog

  if "cells" in args.config:
    raise SettingsError("this config has many studies; run it by `jaxmu benchmark`")
  if args.submit:
    return submission.submit(args)
  settings = Settings.from_config(args.config, catalog())
  if args.plan:
    _plan(settings, args)
    return 0
  if args.stop_after:
    args.stop.limit(parse_duration(args.stop_after))
  ends_early = args.unit or args.only_units or args.prepare
  if args.workers is not None and (code := _share(args)):
    return code
  runtime.configure(settings.population.devices)
  from jaxmu import studies
  from jaxmu.studies.run import Part

  # Where there were workers, they have repaired what was damaged before.
  repair = args.repair and args.workers is None
  part = Part(args.unit, args.prepare, not ends_early, repair)
  command = cli.written(_words(sys.argv))
  run = studies.run(settings, command=command, stop=args.stop, part=part)
  if not ends_early:
    print((run.path / "report.md").read_text(encoding="utf-8"))
    print(f"report: {run.path / 'report.html'}")
    inspect = "jaxmu inspect" if sys.argv[0] == cli.PROGRAM else "python bin/inspect.py"
    print(f"models: {inspect} {run.path}")
  return 0


def _plan(settings: "Settings", args: argparse.Namespace) -> None:
  """Print the plan of a study, and how long it takes on some numbers of accelerators."""
  from jaxmu.command import makespan_text, plan_text
  from jaxmu.studies import jobs, plan

  asked = makespan_flags.asked(args.gpus, args.start_seconds)
  found = plan.plan(settings, images_per_second=args.images_per_second)
  (speed,) = jobs.speeds([found])
  took = makespan_text.estimate(jobs.of_plan(found, speed), [speed], asked)
  if args.json:
    more = {"makespan": makespan_text.as_json(took)} if asked.gpus else {}
    print(json.dumps(found.to_dict() | more, indent=1))
    return
  print(plan_text.render(found))
  if asked.gpus:
    print(f"\n{makespan_text.render(took)}")


def _share(args: argparse.Namespace) -> int:
  """Let other processes make the run directory and work the units; what they leave is done here.

  This process touches no device meanwhile: on a GPU its memory would be theirs.

  Returns:
    0, or the code of a mistake that was told already.
  """
  from jaxmu.command import workers

  if args.workers < 1 or args.unit:
    raise SettingsError(f"--workers={args.workers}: expected at least 1, and no --unit")
  words = cli.again(_words(sys.argv))
  first = [*words, "--prepare", *(["--repair"] if args.repair else [])]
  (code,) = workers.work(first, 1, args.stop)
  if code:
    return code
  workers.share([*words, "--only-units"], args.workers, args.stop)
  return 0


def _words(argv: list[str]) -> list[str]:
  """Leave out what says how the work is done, not what is done."""
  alone = ("--repair", "--prepare", "--only-units")
  kept = cli.without(argv, "--workers", "--unit", "--stop-after")
  return [word for word in kept if word not in alone]
