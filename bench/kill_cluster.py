"""A study on a Slurm of four nodes whose workers and daemons are killed at random moments.

Slurm, scripts, submissions, driver, record and signals are real, and started here; only training is
left out: a unit waits, saves every epoch, and commits numbers that follow from its seed. Whenever
no task is left and models are missing, the study is submitted again, as a user would. Counts units
that are lost or differ, epochs that were done twice, and what is left over.

  python bench/kill_cluster.py --kills=100
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import slurm, stub_task
from support.slurm_study import Study, running

from jaxmu.command import cli, endings
from jaxmu.errors import UserError

EPOCHS, SECONDS = 40, 0.1
STAGES = ("original", "retrained", "ft")
NODE = 0.15  # share of kills that hit a node's daemon
EARLY = 0.15  # of the others: any process of a task, as it starts or works


def main(args: argparse.Namespace) -> int:
  """Run the campaign; return 1 if anything is wrong."""
  if lacking := slurm.lacking():
    raise UserError(f"no Slurm to kill: {lacking}")
  folder = Path(tempfile.mkdtemp(prefix="kill_cluster"))
  stub_task.environment(EPOCHS, SECONDS)
  cluster = slurm.Cluster(folder / "slurm")
  try:
    cluster.start()
    os.environ.update({"SLURM_CONF": str(cluster.conf), "PATH": cluster.environment["PATH"]})
    study = Study(folder / "runs", seeds=args.units // len(STAGES))
    kills = campaign(cluster, study, args.kills, random.Random(args.seed))
    faults = judge(study, kills)
  finally:
    cluster.stop()
  for fault in faults:
    print(f"FAULT: {fault}")
  if not faults:
    shutil.rmtree(folder)
  return bool(faults)


def campaign(cluster: slurm.Cluster, study: Study, wanted: int, rng: random.Random) -> Counter:
  """Kill until there were enough, then let the study end; return what was killed."""
  kills: Counter = Counter()
  down: dict[str, float] = {}  # nodes whose daemon is dead, and since when
  submissions = 0
  while study.missing():
    for path in study.home.glob("legs/*/*/attempts.json"):  # what a refusal says to delete
      path.unlink()
      kills["given up"] += bool(submissions)
    study.submit()
    submissions += 1
    while cluster.queue():
      cluster.hurry()
      for name, since in list(down.items()):
        if time.monotonic() - since > 14 or killed(kills) >= wanted:
          cluster.start_node(name)
          del down[name]
      if killed(kills) < wanted:
        time.sleep(rng.uniform(0.2, 1.5))
        kill(cluster, study, kills, down, rng)
      else:
        time.sleep(0.5)
    print(f"submission {submissions}: {killed(kills)} kills, {study.missing()} units missing")
  for name in down:
    cluster.start_node(name)
  kills["submissions"] = submissions
  return kills


def killed(kills: Counter) -> int:
  """Return how many processes were killed."""
  return kills["worker"] + kills["slurmd"]


def kill(
  cluster: slurm.Cluster, study: Study, kills: Counter, down: dict[str, float], rng: random.Random
) -> None:
  """Kill a worker, or the daemon of a node, whose worker goes on."""
  # Most kills hit processes that have something to lose; starting takes longer than the work.
  workers = study.at_work() if rng.random() > EARLY else running(study)
  if workers and rng.random() < NODE and len(down) < 2:
    name = rng.choice([n for n in cluster.names if n not in down])
    cluster.kill_node(name)
    down[name] = time.monotonic()
    kills["slurmd"] += 1
  elif workers:
    try:
      os.kill(rng.choice(workers), signal.SIGKILL)
    except ProcessLookupError:
      return
    kills["worker"] += 1


def judge(study: Study, kills: Counter) -> list[str]:
  """Print what happened, and return what should not have."""
  lines = Counter(line for line in study.logs.splitlines() if ": epoch " in line)
  epochs: Counter = Counter(line.partition(": epoch ")[0] for line in lines.elements())
  twice = {unit: count - EPOCHS for unit, count in epochs.items() if count > EPOCHS}
  committed = study.logs.count(": committed")
  print(
    f"{kills['worker']} workers and {kills['slurmd']} node daemons killed, "
    f"{kills['submissions']} submissions, {kills['given up']} units left alone after three kills "
    f"without a saved epoch; {committed} units committed once, "
    f"{study.logs.count(': another was first')} came second; {sum(twice.values())} of "
    f"{EPOCHS * len(epochs)} epochs done twice, at most {max(twice.values(), default=0)} in a "
    f"unit; {study.logs.count('resuming after epoch')} times gone on from a saved epoch"
  )
  faults = []
  if committed != len(epochs):
    faults.append(f"{committed} units committed of {len(epochs)}")
  if max(lines.values(), default=1) > 2:
    faults.append("an epoch was done more than twice")
  if sum(twice.values()) > killed(kills):
    faults.append("more than one epoch was repeated for a kill")
  try:
    study.check(STAGES)
  except AssertionError as error:
    faults.append(f"other numbers, or leftovers: {error}")
  return faults


if __name__ == "__main__":
  flags = cli.parser(__doc__, config=False)
  flags.add_argument("--kills", type=int, default=100, metavar="N")
  flags.add_argument("--units", type=int, default=48, metavar="N", help="a multiple of three")
  flags.add_argument("--seed", type=int, default=0, metavar="N")
  endings.leave(cli.run(main, flags))
