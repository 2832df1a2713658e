"""A task like `jaxmu.command.work`, whose models cost nothing but time.

Submission, driver, record, exit codes and signals are the real ones; only training is left out: a
unit takes STUB_EPOCHS epochs of STUB_SECONDS, saves each, and commits numbers that follow from its
seed. STUB_FAILS names units (stage/seed) that end with a mistake of the user's.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from jaxmu.command import cli, endings, work
from jaxmu.data import Facts
from jaxmu.data.sizes import dimensions
from jaxmu.errors import UserError
from jaxmu.launch import order
from jaxmu.settings import Settings
from jaxmu.store import Run, files, submissions, unit_attempts
from jaxmu.store.group_folders import Kept
from jaxmu.store.groups import Cost, GroupRecord, MemberRecord
from jaxmu.store.record import Record
from jaxmu.store.run import directory
from jaxmu.studies import catalog
from jaxmu.studies.benchmark import BENCHMARK
from jaxmu.studies.driver import Driver
from jaxmu.studies.identity import Identities
from jaxmu.studies.run import positions
from jaxmu.studies.study import Outline
from support.manifests import manifest

EPOCHS = int(os.environ.get("STUB_EPOCHS", "10"))
SECONDS = float(os.environ.get("STUB_SECONDS", "0.05"))
FAILS = os.environ.get("STUB_FAILS", "").split(",")


def environment(epochs, seconds=0.05, fails=""):
  """Say to the tasks that this process submits how long units take, and which fail."""
  here = Path(__file__).parents[1]
  os.environ.update(
    {
      "STUB_EPOCHS": str(epochs),
      "STUB_SECONDS": str(seconds),
      "STUB_FAILS": fails,
      "PYTHONPATH": f"{here}:{os.environ.get('PYTHONPATH', '')}",
    }
  )


def numbers(seed):
  """Return what a member leaves, float32 [4, 2]."""
  return np.arange(8, dtype=np.float32).reshape(4, 2) + seed


def stages(settings):
  """Return the stages of a benchmark of these settings."""
  train, indices, _, classes = dimensions(settings)
  return BENCHMARK.stages(Outline(settings, Facts(train, indices), classes))


def prepare(settings):
  """Make the run directory, as if with data and a device."""
  Run.create(
    settings.output_dir,
    settings.name,
    settings.hash8,
    settings.to_dict(),
    manifest(),
    identity=settings.identity(),
  )


def identities(settings):
  """Return the identities of members of a run that `prepare` has made."""
  folder = directory(settings.output_dir, settings.name, settings.hash8)
  return Identities(settings, Run.open(folder).manifest)


def main(args):
  submission = submissions.read(Path(args.path))
  order.check_versions(submission)
  task = submission.job(args.job).tasks[order.index() if args.index is None else args.index]
  settings = Settings.from_config(submission.config, catalog())
  folder = directory(settings.output_dir, settings.name, settings.hash8)
  for item in task.items:
    if item.do == submissions.PREPARE:
      prepare(settings)
    record = Record(folder)
    worker = lambda unit, record=record: work_unit(unit, record, args.stop)
    made = Driver(record, identities(settings), worker, most=1, say=_say)
    if item.do == submissions.MEMBERS:
      wanted = {item.stage: item.members}
      made.run_chosen(
        stages(settings), lambda stage, wanted=wanted: positions(stage, wanted), wanted, 2.0
      )
    elif item.do == submissions.TABLES:
      made.require(stages(settings))
      _say("all there")


def work_unit(unit, record, stop):
  (member,) = unit.members
  seed = member.at["seed"]
  if f"{unit.stage.name}/{seed}" in FAILS:
    raise UserError("told to fail")
  legs = record.legs(unit.stage.name, unit.name)
  saved = unit_attempts.latest_leg(legs)
  done = int(saved.partition("-")[2]) if saved else 0
  if done:
    _say(f"{unit.key}: resuming after epoch {done}")
  with stop.deferring():
    for epoch in range(done + 1, EPOCHS + 1):
      time.sleep(SECONDS)
      files.write_json(legs / f"0-{epoch}" / "leg.json", {"process": os.getpid()}, sync=False)
      _say(f"{unit.key}: epoch {epoch}")
      stop.check()
    (known,) = unit.expected
    row = MemberRecord(known.at, known.identity, "", 1.0, {"number": float(seed)})
    marker = GroupRecord(unit.stage.name, unit.name, (row,), Cost(1, SECONDS * EPOCHS), {})
    won = record.finish(marker, Kept(None, {}, numbers(seed)[None], None, None))
  _say(f"{unit.key}: {'committed' if won else 'another was first'}")


def _say(line):
  print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
  endings.leave(cli.run(main, work.flags()))
