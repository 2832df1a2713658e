"""Run directories: making one on this machine's device, or entering one that another made."""

from collections.abc import Callable, Mapping, Sequence

import jax

from jaxmu.data import Dataset, Split
from jaxmu.engine.runtime import cache_home
from jaxmu.errors import NeedMissing, SettingsError
from jaxmu.execution import lowerings, tuning
from jaxmu.execution.setup import Setup
from jaxmu.kernels.conv import Choice
from jaxmu.settings import Settings
from jaxmu.store import Run, provenance
from jaxmu.store.groups import without_round
from jaxmu.store.manifest import MethodDescription
from jaxmu.store.measurements import Measurements
from jaxmu.store.run import CONFIG, MANIFEST, check_same_data, directory
from jaxmu.studies import given_models, units
from jaxmu.studies.study import Stage
from jaxmu.studies.waiting import comes


def make(
  settings: Settings,
  dataset: Dataset,
  stages: Sequence[Stage],
  command: str,
  say: Callable[[str], None],
) -> tuple[Run, Setup]:
  """Make or re-open the run directory of these settings; refuse one of other data.

  A new one measures what depends on the device: how many members go together, and how each
  convolution is computed.
  """
  folder = directory(settings.output_dir, settings.name, settings.hash8)
  there = all((folder / name).is_file() for name in (CONFIG, MANIFEST))
  before = Run.open(folder).manifest if there else None
  if before is not None:
    chunk, lowering = before.chunk, before.lowering
  else:
    splits = [member.sets for member in stages[0].members]
    measured = lambda name: Measurements(cache_home() / name)
    chunk = tuning.resolve_chunk(settings, dataset, splits[: units.LARGEST], measured("chunks"))
    lowering = lowerings.resolve(settings, dataset, chunk, measured("lowerings"))
  setup = Setup(settings, dataset, chunk, _choices(lowering))
  setup.check_recipe()
  given_models.check(setup, stages)
  manifest = provenance.manifest(
    settings,
    dataset,
    _one_a_seed(stages[0]),
    methods(stages),
    chunk=chunk,
    lowering=lowering,
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
  return opened, _setup(opened, settings, dataset)


def enter(settings: Settings, dataset: Dataset) -> tuple[Run, Setup]:
  """Open a run directory that is there, with what was measured when it was made.

  Raises:
    NeedMissing: it is not there.
    SettingsError: it was made on another kind of device.
    StoreError: it was made with other data.
  """
  folder = directory(settings.output_dir, settings.name, settings.hash8)
  if not comes((folder / CONFIG).is_file):  # another machine may have made it just now
    raise NeedMissing(f"{folder} is no run directory yet; its first task, `prepare`, makes it")
  opened = Run.open(folder)
  check_same_data(folder, opened.manifest.dataset, dataset)
  made, here = opened.manifest.device, jax.devices()[0]
  if made.platform != here.platform:
    raise SettingsError(
      f"{folder} was made on {made.platform} ({made.kind}), and this is {here.platform} "
      f"({here.device_kind}); its members must all come from one kind of device"
    )
  return opened, _setup(opened, settings, dataset)


def _setup(opened: Run, settings: Settings, dataset: Dataset) -> Setup:
  return Setup(settings, dataset, opened.manifest.chunk, _choices(opened.manifest.lowering))


def _choices(lowering: Mapping[str, str]) -> Choice:
  return tuple(sorted(lowering.items()))


def _one_a_seed(stage: Stage) -> list[Split]:
  """Return a split for each seed; where members have none, the first one's says all."""
  found: dict[int | None, Split] = {}
  for member in stage.members:
    found.setdefault(member.at.get("seed"), member.sets)
  return list(found.values())


def methods(stages: Sequence[Stage]) -> dict[str, MethodDescription]:
  """Describe the methods of stages, by name; rounds of one are one."""
  hp = lambda stage: stage.members[0].hp
  return {without_round(s.name): provenance.described(s.method, hp(s)) for s in stages}
