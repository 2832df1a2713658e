"""Run the benchmark: train, unlearn, attack and report a population of models.

Where the config asks for a U-LiRA study (config.study = "ulira"), run that: shadow models,
per-sample attacks, and their report.

  python bin/sweep.py --config=configs/cnn_digits.py
  python bin/sweep.py --config=configs/resnet18_cifar10.py:mini --config.methods=msg,ct
  python bin/sweep.py --config=configs/resnet18_cifar10.py --plan
  python bin/sweep.py --config=configs/ulira_digits.py --config.ulira.splits=64

Running the same command again continues where it stopped.
"""

import shlex
import sys

from jaxmu.command import cli
from jaxmu.engine import runtime


def flags() -> cli.Parser:
  made = cli.parser(__doc__)
  made.add_argument("--plan", action="store_true", help="print cost and progress, run nothing")
  made.add_argument(
    "--images-per-second",
    type=float,
    metavar="N",
    help="training speed of the whole machine that --plan assumes (default: as on 2 CPU cores)",
  )
  return made


def main(args) -> None:
  from jaxmu.settings import Settings
  from jaxmu.studies import catalog

  settings = Settings.from_config(args.config, catalog())
  if args.plan:
    from jaxmu import shadows
    from jaxmu.studies.plan import plan

    plan = shadows.plan if settings.study == "ulira" else plan
    print(plan(settings, images_per_second=args.images_per_second))
    return
  runtime.configure(settings.population.devices)
  from jaxmu import shadows, studies

  start = shadows.study if settings.study == "ulira" else studies.sweep
  run = start(settings, command=shlex.join(["python", *sys.argv]))
  print((run.path / "report.md").read_text(encoding="utf-8"))
  print(f"report: {run.path / 'report.html'}")
  print(f"models: python bin/inspect.py {run.path}")


if __name__ == "__main__":
  sys.exit(cli.run(main, flags()))
