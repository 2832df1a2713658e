"""The flag --submit: a study, or parts of a matrix, handed to an engine."""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any

from jaxmu.command import cli
from jaxmu.errors import SettingsError, closest


def add_flags(made: cli.Parser) -> None:
  """Add what is needed to submit."""
  made.add_argument(
    "--submit",
    metavar="ENGINE",
    help="hand what is missing to an engine: slurm, kubernetes (prints YAML), local, or print "
    "(scripts for others); see config.cluster",
  )
  made.add_argument(
    "--stage", metavar="NAME", default="", help="with --submit: only jobs of this name"
  )


def submit(args: argparse.Namespace, parts: Sequence[Any] = ()) -> int:
  """Cut what is missing into tasks and hand them to an engine; return an exit code.

  Args:
    parts: of a matrix; none for a study.
  """
  from jaxmu import launch
  from jaxmu.launch.order import Order, versions
  from jaxmu.settings import Settings
  from jaxmu.store import submissions
  from jaxmu.store.run import directory
  from jaxmu.studies import catalog, matrix, tasks

  if args.submit not in launch.ENGINES:
    known = closest(args.submit, launch.ENGINES)
    raise SettingsError(f"--submit={args.submit}: there is no such engine; {known}")
  speed = args.images_per_second
  if parts:
    every = matrix.by_key(matrix.parts(args.config))
    settings, jobs = matrix.settings(parts[0], every), tasks.of_matrix(parts, every, speed)
    home, config = matrix.folder(args.config), args.config.to_dict()
  else:
    settings = Settings.from_config(args.config, catalog())
    jobs, config = tasks.of_study(settings, speed), settings.to_dict()
    home = directory(settings.output_dir, settings.name, settings.hash8)
  say = functools.partial(print, file=sys.stderr, flush=True)
  if not jobs:
    say("nothing is missing")
    return 0
  command = cli.written(cli.without(sys.argv, "--submit", "--stage"))
  made = submissions.Submission(config, tuple(jobs), versions(), os.getcwd(), command)
  path = submissions.write(home, made).resolve()
  order = Order(made, path, home, settings.cluster, args.stop, say, args.stage)
  say(
    f"{sum(len(job.tasks) for job in jobs)} tasks in {len(jobs)} jobs, "
    f"{sum(task.models for job in jobs for task in job.tasks):,} models: {path}"
  )
  return launch.ENGINES[args.submit](order)
