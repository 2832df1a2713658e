"""A study from a config to its report: the data, the run directory, the work, the tables."""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, TextIO

from jaxmu import data, report
from jaxmu.data import Dataset, Split
from jaxmu.engine.runtime import cache_home
from jaxmu.execution import lowerings, tuning
from jaxmu.execution.compile_ahead import CompileAhead
from jaxmu.execution.progress import StudyProgress
from jaxmu.execution.setup import Setup
from jaxmu.settings import Settings
from jaxmu.stopping import Stop
from jaxmu.store import Run, provenance
from jaxmu.store.groups import without_round
from jaxmu.store.manifest import MethodDescription
from jaxmu.store.measurements import Measurements
from jaxmu.store.record import Record
from jaxmu.studies import units
from jaxmu.studies.costs import Costs
from jaxmu.studies.driver import Driver
from jaxmu.studies.identity import Identities
from jaxmu.studies.registry import STUDIES
from jaxmu.studies.scores import facts_for
from jaxmu.studies.study import Finished, Outline, Stage, known
from jaxmu.studies.work import Worker


class Part(NamedTuple):
  """Which part of a study this process does.

  Attributes:
    unit: one unit, "stage/name"; all where empty.
    prepare: make the run directory only.
    results: tables and report as well, once all units are there.
    repair: delete damaged groups first.
  """

  unit: str = ""
  prepare: bool = False
  results: bool = True
  repair: bool = False


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
    Interrupted: stopped; what was computed is saved.
  """
  stop, say = stop or Stop(), functools.partial(print, file=out or sys.stderr, flush=True)
  study, dataset = STUDIES[settings.study], data.load_for(settings)
  outline = Outline(settings, facts_for(settings, dataset), dataset.num_classes)
  image = dataset.images.shape[1], dataset.channels
  stages = list(known(study.stages(outline)))
  opened, setup = _open(settings, dataset, stages, command, say)
  record = Record(opened.path)
  say(f"run directory: {opened.path}")
  if part.repair:
    record.repair(say)
  if part.prepare:
    return opened
  costs = Costs(outline, image, record)
  with CompileAhead() as ahead:
    worker = Worker(setup, record, stop, ahead)
    driver = Driver(
      record,
      Identities(settings, opened.manifest),
      worker,
      most=units.most(settings),
      say=say,
      log=opened.log,
      announce=worker.announce,
      progress=StudyProgress(costs.work, units.count, say),
    )
    if part.unit:
      driver.run_one(study.stages(outline), part.unit)
      return opened
    done = driver.run(study.stages(outline))
  if part.results:
    with opened.alone() as written:
      if not written:
        opened.grow(_methods(done))
        with opened.writing_results():
          study.tables(Finished(opened, record, settings, dataset, done), say)
        report.write(opened.path, study.report(opened))
  return opened


def _open(
  settings: Settings,
  dataset: Dataset,
  stages: Sequence[Stage],
  command: str,
  say: Callable[[str], None],
) -> tuple[Run, Setup]:
  """Make or re-open the run directory of these settings; refuse one of other data."""
  splits = [member.sets for member in stages[0].members]
  measured = lambda name: Measurements(cache_home() / name)
  chunk = tuning.resolve_chunk(settings, dataset, splits[: units.LARGEST], measured("chunks"))
  manifest = provenance.manifest(
    settings,
    dataset,
    _one_a_seed(stages[0]),
    _methods(stages),
    chunk=chunk,
    lowering=lowerings.resolve(settings, dataset, chunk, measured("lowerings")),
    command=command,
  )
  opened = Run.create(
    settings.output_dir,
    settings.name,
    settings.hash8,
    settings.to_dict(),
    manifest,
    identity=settings.identity(),
  )
  if changed := provenance.changed_versions(opened.manifest, manifest):
    opened.log({"event": "versions changed", "changes": changed})
    say(
      f"note: this run began with other versions ({', '.join(changed)}); members that are not "
      "done yet come from the present ones and need not be bit-identical"
    )
  lowering = tuple(sorted(opened.manifest.lowering.items()))
  return opened, Setup(settings, dataset, opened.manifest.chunk, lowering)


def _one_a_seed(stage: Stage) -> list[Split]:
  """Return a split for each seed; where members have none, the first one's says all."""
  found: dict[int | None, Split] = {}
  for member in stage.members:
    found.setdefault(member.at.get("seed"), member.sets)
  return list(found.values())


def _methods(stages: Sequence[Stage]) -> dict[str, MethodDescription]:
  """Describe the methods of stages, by name; rounds of one are one."""
  hp = lambda stage: stage.members[0].hp
  return {without_round(s.name): provenance.described(s.method, hp(s)) for s in stages}
