"""Working one task of a submission, in whatever process an engine starts for it."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from jaxmu import report
from jaxmu.errors import NeedMissing
from jaxmu.report import cells
from jaxmu.settings import Settings
from jaxmu.settings.choices import BENCHMARK
from jaxmu.stopping import Stop
from jaxmu.store import Run
from jaxmu.store.groups import At
from jaxmu.store.run import CONFIG, PAGE, directory
from jaxmu.store.submissions import (
  BRANCH,
  MEMBERS,
  PREPARE,
  REPORT,
  TABLES,
  Item,
  Submission,
  Task,
  probe,
)
from jaxmu.studies import matrix
from jaxmu.studies.registry import catalog
from jaxmu.studies.run import Part, run
from jaxmu.studies.study import Branch

Say = Callable[[str], None]


def settings(submission: Submission, part: str) -> Settings:
  """Return the settings of a part of a submission, "" for the only one.

  Raises:
    NeedMissing: the search that gives its hyper-parameters has not written them.
  """
  if not part:
    return Settings.from_config(submission.config, catalog())
  every = matrix.by_key(matrix.parts(submission.config))
  found = matrix.settings(every[part], every)
  if every[part].after and not found.tuned:
    raise NeedMissing(
      f"{part} takes its hyper-parameters from {every[part].cell}/{every[part].after}, which is "
      "not finished; submit again, which makes what is missing"
    )
  return found


def devices(submission: Submission, part: str) -> int:
  """Return how many devices a part of a submission asks for, 0 for all."""
  if not part:
    return settings(submission, part).population.devices
  every = matrix.by_key(matrix.parts(submission.config))
  return Settings.from_config(every[part].config, catalog()).population.devices


def work(submission: Submission, task: Task, stop: Stop, say: Say) -> None:
  """Work the items of a task; what is done is passed over.

  Raises:
    NeedMissing: what they start from is not there.
    Busy: another process works on one of them.
    Interrupted: the process was asked to stop; what was computed is saved.
  """
  for part, items in groupby(task.items, key=lambda item: item.part):
    for each in _joined(list(items)):
      _work(submission, part, each, stop, say)


def _joined(items: list[Item]) -> Iterator[list[Item]]:
  """Yield items in order, members of one study together: its data are read and placed once."""
  for do, some in groupby(items, key=lambda item: item.do):
    if do == MEMBERS:
      yield list(some)
    else:
      yield from ([item] for item in some)


def _work(submission: Submission, part: str, items: list[Item], stop: Stop, say: Say) -> None:
  first = items[0]
  if first.do == REPORT:
    _report(submission, say)
    return
  chosen, what = settings(submission, part), Part(train=False)
  if first.do == PREPARE:
    probe(Path(chosen.output_dir))
    what = Part(prepare=True)
  elif first.do == MEMBERS:
    members: dict[str, list[At]] = {}
    for item in items:
      members.setdefault(item.stage, []).extend(item.members)
    what = Part(members=members)
  elif first.do == BRANCH:
    what = Part(branch=Branch(first.method, places=first.places))
  elif (there := _opened(chosen)).reported:
    say(f"{there.path}: tables and report are there")
    return
  made = run(chosen, command=submission.command, stop=stop, part=what)
  if first.do == TABLES:
    say(f"report: {made.path / PAGE}")


def _opened(chosen: Settings) -> Run:
  """Open the run of a study that earlier tasks have worked; NeedMissing where none has."""
  folder = directory(chosen.output_dir, chosen.name, chosen.hash8)
  if not (folder / CONFIG).is_file():
    raise NeedMissing(f"{folder} is no run directory yet; submit again, which makes it")
  return Run.open(folder)


def _report(submission: Submission, say: Say) -> None:
  """Write the report over all cells whose benchmarks are finished."""
  found = {
    part.cell: _opened(settings(submission, part.key))
    for part in matrix.parts(submission.config)
    if part.name == BENCHMARK
  }
  written = report.write(matrix.folder(submission.config), cells.report(found))
  say(f"all cells: {written[-1]}")
