"""What a study will cost, and what of it is done, without touching data or a device."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmu.data import DATASETS, Facts, load_for
from jaxmu.data.requests import RULES
from jaxmu.data.sizes import SIZES, Image, dimensions
from jaxmu.own_code import names
from jaxmu.settings import Settings
from jaxmu.store import Run
from jaxmu.store.groups import Expected, text
from jaxmu.store.record import Record
from jaxmu.store.run import directory
from jaxmu.studies import units
from jaxmu.studies.costs import Cost, Costs
from jaxmu.studies.identity import Identities
from jaxmu.studies.registry import STUDIES
from jaxmu.studies.scores import facts_for
from jaxmu.studies.study import Member, NotKnown, Outline, Row, Stage, known

DONE, TO_DO = "done", "to do"


@dataclass(frozen=True)
class PlannedUnit:
  """A unit of work.

  Attributes:
    key: "stage/name"; what --unit takes, once the run directory exists.
    members: their coordinates.
    needs: keys of the unfinished units whose models it starts from.
    steps: of one member; `pflop`, `bytes` and `seconds` are of all.
    state: "done" or "to do".
  """

  key: str
  stage: str
  members: tuple[dict[str, int], ...]
  needs: tuple[str, ...]
  steps: int
  pflop: float
  bytes: int
  seconds: float
  state: str


@dataclass(frozen=True)
class Plan:
  """A study as units.

  Attributes:
    about: what the study is, in lines.
    folder: its run directory, which need not exist.
    speed: training images per second that are assumed.
    device_flops: FLOP/s of one accelerator that finished units reached; None where none ran on one.
  """

  name: str
  study: str
  network: str
  about: tuple[str, ...]
  folder: str
  speed: float
  device_flops: float | None
  units: tuple[PlannedUnit, ...]

  def to_dict(self) -> dict[str, Any]:
    """Give everything as JSON-ready values, with sums over the units."""
    left = [unit for unit in self.units if unit.state == TO_DO]
    total: dict[str, float] = {"members": sum(len(unit.members) for unit in self.units)}
    for name in ("pflop", "bytes", "seconds"):
      total[name] = sum(getattr(unit, name) for unit in self.units)
    total |= {"seconds_left": sum(unit.seconds for unit in left)}
    return asdict(self) | {"total": total | {"units": len(self.units), "units_left": len(left)}}


def plan(settings: Settings, *, images_per_second: float | None = None) -> Plan:
  """Divide a study into units, with what each costs and whether it is done.

  Args:
    images_per_second: training speed of the whole machine, all members together; None takes what
      the study's finished units reached, or else what was measured on two CPU cores.

  Raises:
    SettingsError: the data set's size is not known in advance (npz) or smaller than its subset,
      the speed is no speed, or the output folder cannot be one.
    DataError: the split or the pool leaves a set empty, or too small to be attacked.
  """
  study = STUDIES[settings.study]
  folder = directory(settings.output_dir, settings.name, settings.hash8)
  opened = Run.open(folder) if (folder / "config.json").is_file() else None
  outline, image = outline_of(settings, opened)
  record = None if opened is None else Record(folder)
  costs = Costs(outline, image, record, images_per_second)
  identities = Identities(settings, None if opened is None else opened.manifest)
  planned: dict[str, list[PlannedUnit]] = {}
  keys: dict[tuple[str, str], str] = {}
  rows = lambda stage: _rows(record, stage, study.assumed)
  for stage in known(study.stages(outline), rows):
    if record is None:  # nobody's: no run has been made yet
      expected = tuple(Expected(member.at, "") for member in stage.members)
    else:
      expected = identities.add(stage)
      record.expect(stage.name, expected)
    planned[stage.name] = _of_stage(stage, expected, record, settings, costs, keys)
  network = f"{settings.model.name} ({costs.weights:,} parameters, {costs.flops / 1e6:.1f} MFLOP"
  first = f"{settings.name}: {settings.study} of {network} an image) on {settings.dataset}"
  every = tuple(unit for found in planned.values() for unit in found)
  about = (first, *study.about(outline))
  accelerated = opened is not None and opened.manifest.device.platform != "cpu"
  return Plan(
    name=settings.name,
    study=settings.study,
    network=settings.model.name,
    about=about,
    folder=str(folder),
    speed=costs.speed,
    device_flops=costs.device_flops if accelerated else None,
    units=every,
  )


def _rows(
  record: Record | None, stage: Stage, assumed: Callable[[Stage], list[Row]] | None
) -> list[Row]:
  """Return the results of a stage, or what is assumed; NotKnown where nothing can be."""
  if record is not None and not record.missing(stage.name):
    return record.rows(stage.name)
  if assumed is None:
    raise NotKnown(stage.name)
  return assumed(stage)


def _of_stage(
  stage: Stage,
  expected: Sequence[Expected],
  record: Record | None,
  settings: Settings,
  costs: Costs,
  keys: dict[tuple[str, str], str],
) -> list[PlannedUnit]:
  """List the finished groups of a stage, then the units that are left.

  Args:
    keys: (stage, coordinates) -> the unfinished unit of a member; this stage's are added.
  """
  size = units.most(settings)
  found, left = [], dict.fromkeys(range(len(expected)))
  if record is not None:
    size = min(record.size(stage.name) or size, size)
    identities: dict[str, list[int]] = {}  # members that are alike in everything share one
    for k, member in enumerate(expected):
      identities.setdefault(member.identity, []).append(k)
    for group in record.groups(stage.name):
      places = [k for member in group.members for k in identities.get(member.identity, ())]
      own = [k for k in dict.fromkeys(places) if k in left]
      for k in own:
        del left[k]
      if own:
        members = [stage.members[k] for k in own]
        cost = costs.of(stage, members)
        found.append(_unit(f"{stage.name}/{group.group}", stage, members, (), cost, DONE))
  for unit in units.divide(stage, expected, list(left), size):
    key = unit.key if record is not None else unit.key.rpartition("-")[0]
    needs = dict.fromkeys(
      keys.get((str(stage.parent), text(m.parent or {})), "") for m in unit.members
    )
    keys |= {(stage.name, text(member.at)): key for member in unit.members}
    cost, needed = costs.of(stage, unit.members), tuple(need for need in needs if need)
    found.append(_unit(key, stage, unit.members, needed, cost, TO_DO))
  return found


def _unit(
  key: str, stage: Stage, members: Sequence[Member], needs: tuple[str, ...], cost: Cost, state: str
) -> PlannedUnit:
  places = tuple(dict(member.at) for member in members)
  return PlannedUnit(key, stage.name, places, needs, *cost, state)


def _are_known(settings: Settings) -> bool:
  """Tell whether the sizes of the data can be had without reading them."""
  return settings.dataset in SIZES or Path(settings.data.path).expanduser().is_file()


def outline_of(settings: Settings, opened: Run | None) -> tuple[Outline, Image]:
  """Return the sizes of the data, and height, width and channels of the network's input.

  A request that goes by labels or groups reads the data, and so do sizes of a user's own data set,
  which only its function knows; nothing else does.
  """
  own = names.named("datasets", settings.dataset, DATASETS) is not None
  if own or RULES[settings.scenario.forget].needs:
    dataset = load_for(settings)
    facts = facts_for(settings, dataset)
    return Outline(settings, facts, dataset.num_classes), dataset.input_shape
  if opened is not None and not _are_known(settings):
    made = opened.manifest.dataset
    height, width, channels = made.image_shape
    facts = Facts(made.num_train, np.arange(made.sizes["total"]))
    return Outline(settings, facts, made.num_classes), (height, width, channels)
  train, indices, image, classes = dimensions(settings)
  return Outline(settings, Facts(train, indices), classes), image
