"""Cutting studies into tasks for a cluster: members of stages, or whole branches of a search.

Tasks of one job may run at once. A job comes after those whose models its tasks start from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from jaxmu.settings import Settings
from jaxmu.settings.choices import BENCHMARK
from jaxmu.store import Run
from jaxmu.store.record import Record
from jaxmu.store.run import CONFIG, directory
from jaxmu.store.submissions import BRANCH, MEMBERS, PREPARE, REPORT, TABLES, Item, Job, Task
from jaxmu.studies import matrix
from jaxmu.studies.identity import Identities
from jaxmu.studies.jobs import ASSUMED_FLOPS
from jaxmu.studies.matrix import Part
from jaxmu.studies.plan import TO_DO, PlannedUnit, outline_of, plan
from jaxmu.studies.registry import STUDIES
from jaxmu.studies.study import Branch, NotKnown, Row, Stage, known
from jaxmu.unlearning import ANCHORS

LARGEST = 1000  # tasks of a job: Slurm's usual limit of an array is 1001
FEW = 4  # tasks that may all begin with making the run directory: one does, the others wait
Levels = list[tuple[str, list[Task]]]


class Work(NamedTuple):
  """A study to be cut.

  Attributes:
    key: its part of a matrix, "" for a study alone.
    before: the search that must have written what it chose.
    followed: whether such a study follows, which then has the tables written.
  """

  key: str
  settings: Settings
  before: str = ""
  followed: bool = False


def of_study(settings: Settings, speed: float | None = None) -> list[Job]:
  """Return the jobs of what is missing in a study.

  Args:
    speed: training images per second of one task; None takes what finished units reached, or
      what `jobs` assumes of a GPU, or, without GPUs, what two CPU cores reach.
  """
  return _jobs(Work("", settings), (), speed)


def of_matrix(
  chosen: Sequence[Part], every: Mapping[str, Part], speed: float | None = None
) -> list[Job]:
  """Return the jobs of what is missing in parts of a matrix, and of the report over all cells."""
  before = {part.key: f"{part.cell}/{part.after}" if part.after else "" for part in chosen}
  ends: dict[str, tuple[str, ...]] = {}
  found: list[Job] = []
  for part in chosen:
    known_as = Work(
      part.key, matrix.settings(part, every), before[part.key], part.key in before.values()
    )
    jobs = _jobs(known_as, ends.get(known_as.before, ()), speed)
    waited = {name for job in jobs for name in job.after}
    ends[part.key] = tuple(job.name for job in jobs if job.name not in waited)
    found += jobs
  reported = [part.key for part in chosen if part.name == BENCHMARK]
  if len(reported) > 1 and found:
    last = tuple(name for key in reported for name in ends[key])
    found.append(Job("report", (Task((Item(REPORT),)),), last))
  return found


def _jobs(work: Work, waits: tuple[str, ...], speed: float | None) -> list[Job]:
  """Cut one study, whose first job waits for others."""
  levels = _levels(work, speed)
  if not levels and _is_reported(work.settings):
    return []
  first = [Item(PREPARE, work.key)]
  if work.before and not work.settings.tuned:  # only what that search chose makes this study known
    first.insert(0, Item(TABLES, work.before))
  if levels and len(levels[0][1]) <= FEW:
    name, tasks = levels[0]
    levels[0] = name, [replace(task, items=(*first, *task.items)) for task in tasks]
  elif levels:
    levels.insert(0, ("prepare", [Task(tuple(first))]))
  if not work.followed:
    levels.append(("report", [Task((Item(TABLES, work.key),))]))
  jobs: list[Job] = []
  for name, tasks in levels:
    parts = [tuple(tasks[k : k + LARGEST]) for k in range(0, len(tasks), LARGEST)]
    title = "/".join(filter(None, (work.key or work.settings.name, name)))
    made = [Job(f"{title}-{k}" if k else title, own, waits) for k, own in enumerate(parts)]
    waits = tuple(job.name for job in made)
    jobs += made
  return jobs


def _levels(work: Work, speed: float | None) -> Levels:
  """Return the tasks that are missing, by how many others they come after."""
  settings = work.settings
  planned = plan(settings, images_per_second=speed)
  assumed = None
  if speed is None and settings.cluster.gpus:
    assumed = (planned.device_flops or ASSUMED_FLOPS) * settings.cluster.gpus
  left = [_timed(unit, assumed) for unit in planned.units if unit.state == TO_DO]
  branches = STUDIES[settings.study].branches
  found = [] if branches is None else branches(settings)
  apart = [unit for unit in left if not any(branch.owns(unit.stage) for branch in found)]
  levels: Levels = []
  for units in _by_depth(apart):
    anchors = all(unit.stage in ANCHORS for unit in units)
    name = "anchors" if anchors else "methods"
    taken = sum(title.startswith(name) for title, _ in levels)
    levels.append((f"{name}{taken + 1}" if taken else name, _packed(work, units)))
  trials = [task for branch in found if (task := _branch(work, branch, left)) is not None]
  return [*levels, ("trials", trials)] if trials else levels


def _timed(unit: PlannedUnit, flops: float | None) -> PlannedUnit:
  return unit if flops is None else replace(unit, seconds=unit.pflop * 1e15 / flops)


def _by_depth(units: Sequence[PlannedUnit]) -> list[list[PlannedUnit]]:
  """Sort units by how many others each waits for, one after another."""
  depth: dict[str, int] = {}
  found: list[list[PlannedUnit]] = []
  for unit in units:  # a stage comes after the one that it starts from
    own = depth[unit.key] = 1 + max((depth.get(need, -1) for need in unit.needs), default=-1)
    found += [[] for _ in range(own + 1 - len(found))]
    found[own].append(unit)
  return found


def _packed(work: Work, units: Sequence[PlannedUnit]) -> list[Task]:
  """Put short units together, until a task takes long enough."""
  wanted = 60.0 * work.settings.cluster.pack_minutes
  packs: list[list[PlannedUnit]] = []
  for unit in units:
    if not packs or sum(each.seconds for each in packs[-1]) >= wanted:
      packs.append([])
    packs[-1].append(unit)
  item = lambda unit: Item(MEMBERS, work.key, unit.stage, unit.members)
  return [
    Task(
      tuple(map(item, pack)),
      sum(len(unit.members) for unit in pack),
      sum(unit.pflop for unit in pack),
      sum(unit.seconds for unit in pack),
    )
    for pack in packs
  ]


def _branch(work: Work, branch: Branch, left: Sequence[PlannedUnit]) -> Task | None:
  """Return a branch as a task, None where it is finished."""
  models, pflop, seconds = 0, 0.0, 0.0
  for unit in left:
    own = sum(branch.has(member) for member in unit.members) if branch.owns(unit.stage) else 0
    share = own / len(unit.members)
    models, pflop = models + own, pflop + share * unit.pflop
    seconds += share * unit.seconds
  if not models or _finished(work.settings, branch):
    return None
  item = Item(BRANCH, work.key, method=branch.method, places=branch.places)
  return Task((item,), models, pflop, seconds)


def _finished(settings: Settings, branch: Branch) -> bool:
  """Tell whether a branch has all its models, also where others of its stages have not."""
  folder = directory(settings.output_dir, settings.name, settings.hash8)
  if not (folder / CONFIG).is_file():
    return False
  opened, record, whole = Run.open(folder), Record(folder), True
  settings = replace(settings, methods=(branch.method,))
  outline, _ = outline_of(settings, opened)
  identities = Identities(settings, opened.manifest)

  def rows(stage: Stage) -> list[Row]:
    if record.missing(stage.name):
      raise NotKnown(stage.name)
    return record.rows(stage.name)

  for stage in known(STUDIES[settings.study].stages(outline.limited(branch.places)), rows):
    record.expect(stage.name, identities.add(stage))
    whole = whole and not record.missing(stage.name)
  return whole


def _is_reported(settings: Settings) -> bool:
  folder = directory(settings.output_dir, settings.name, settings.hash8)
  return (folder / CONFIG).is_file() and Run.open(folder).reported
