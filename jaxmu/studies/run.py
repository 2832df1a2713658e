"""A study from a config to its report: the data, the run directory, the work, the tables."""

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, TextIO

from jaxmu import data, report, tracking
from jaxmu.execution.compile_ahead import CompileAhead
from jaxmu.execution.progress import StudyProgress
from jaxmu.settings import Settings
from jaxmu.stopping import Stop
from jaxmu.store import Run
from jaxmu.store.groups import At, text
from jaxmu.store.record import Record
from jaxmu.studies import opening, units
from jaxmu.studies.costs import Costs
from jaxmu.studies.driver import Driver
from jaxmu.studies.identity import Identities
from jaxmu.studies.registry import STUDIES
from jaxmu.studies.scores import facts_for
from jaxmu.studies.study import Branch, Finished, Outline, Stage, known, unknown
from jaxmu.studies.work import Worker


class Part(NamedTuple):
  """Which part of a study this process does.

  Attributes:
    unit: one unit, "stage/name"; all where empty.
    prepare: make the run directory only.
    results: tables and report as well, once all units are there.
    repair: delete damaged groups first.
    members: of stages, by their names: these members alone, whose needs must be there.
    branch: this branch alone, whose needs must be there.
    train: False: nothing may be missing.
  """

  unit: str = ""
  prepare: bool = False
  results: bool = True
  repair: bool = False
  members: Mapping[str, Sequence[At]] = MappingProxyType({})
  branch: Branch | None = None
  train: bool = True

  @property
  def inside(self) -> bool:
    """Whether the run directory must be there."""
    return bool(self.members) or self.branch is not None


WHOLE = Part()


def run(
  settings: Settings,
  *,
  command: str = "",
  out: TextIO | None = None,
  stop: Stop | None = None,
  part: Part = WHOLE,
) -> Run:
  """Run a study, or what is left of it, and write its report.

  Any number of processes may do so on one run directory at once: they share the work.

  Args:
    settings: the checked config.
    command: how to run it again; stored in the manifest.
    out: where lines about the whole study go; standard error where None.
    stop: tells when to end early; it never does where None.

  Raises:
    DataError, StoreError, CheckpointError: with one line that says what to do.
    SettingsError: the package of the tracker that is asked for is not installed.
    Interrupted: stopped; what was computed is saved.
  """
  tracking.check(settings.track)
  stop, say = stop or Stop(), functools.partial(print, file=out or sys.stderr, flush=True)
  study, dataset = STUDIES[settings.study], data.load_for(settings)
  if part.branch is not None:
    settings = replace(settings, methods=(part.branch.method,))
  outline = Outline(settings, facts_for(settings, dataset), dataset.num_classes)
  if part.inside:
    opened, setup = opening.enter(settings, dataset)
  else:
    stages = list(known(study.stages(outline)))
    opened, setup = opening.make(settings, dataset, stages, command, say)
  record = Record(opened.path)
  say(f"run directory: {opened.path}")
  if part.repair:
    record.repair(say)
  costs = Costs(outline, dataset.input_shape, record)
  tracker = tracking.Tracking(settings.track, opened, record, say)

  def note(event: Mapping[str, Any]) -> None:
    opened.log(event)
    if event["event"] == "done":
      tracker.finished(event["stage"])

  with CompileAhead() as ahead:
    worker = Worker(setup, record, stop, ahead)
    driver = Driver(
      record,
      Identities(settings, opened.manifest),
      worker,
      most=units.most(settings),
      say=say,
      log=note,
      announce=worker.announce,
      progress=StudyProgress(costs.work, units.count, say),
    )
    if part.prepare:
      driver.add_all(study.stages(outline), unknown)
      return opened
    if part.unit:
      driver.run_one(study.stages(outline), part.unit)
      return opened
    if part.branch is not None:
      driver.run_chosen(study.stages(outline.limited(part.branch.places)), part.branch.of)
      return opened
    if part.members:
      own = lambda stage: positions(stage, part.members)
      driver.run_chosen(study.stages(outline), own, part.members)
      return opened
    every = study.stages(outline)
    done = driver.run(every) if part.train else driver.require(every)
  if part.results:
    with opened.alone() as written:
      if not written:
        opened.grow(opening.methods(done))
        with opened.writing_results():
          study.tables(Finished(opened, record, settings, dataset, done), say)
        report.write(opened.path, study.report(opened))
    tracker.measured()
  return opened


def positions(stage: Stage, members: Mapping[str, Sequence[At]]) -> list[int]:
  """Return the positions of the members of a stage that are asked for."""
  asked = {text(at) for at in members.get(stage.name, ())}
  return [k for k, member in enumerate(stage.members) if text(member.at) in asked]
