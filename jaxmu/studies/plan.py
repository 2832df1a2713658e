"""What an experiment will cost, and what of it is done, without touching data or a device."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxmu import data
from jaxmu.data.transforms import subset_positions
from jaxmu.errors import SettingsError
from jaxmu.execution import accounting
from jaxmu.models.cost import forward_flops, parameter_count
from jaxmu.settings import Settings
from jaxmu.settings.ranges import Range
from jaxmu.studies.driver import check_attackable
from jaxmu.studies.preparation import hyperparameters, listed_splits, make_model
from jaxmu.unlearning import ANCHORS, get

# name -> train, test, image size, channels of the network input, classes (data_models.md 1)
SIZES: Mapping[str, tuple[int, int, int, int, int]] = {
  "digits": (1438, 359, 8, 1, 10),
  "mnist": (60_000, 10_000, 32, 3, 10),
  "fashion_mnist": (60_000, 10_000, 32, 3, 10),
  "cifar10": (50_000, 10_000, 32, 3, 10),
  "cifar100": (50_000, 10_000, 32, 3, 100),
  "synthetic": (400, 100, 8, 3, 4),
}
# FLOP/s that two AVX-512 cores reached in training (docs/benchmarks.md); --images-per-second wins.
MEASURED_FLOPS = {"resnet18": 290e9, "tinyvit": 130e9, "cnn": 190e9}
SPEED = Range(1e-3, 1e12)  # images a second of one machine


def plan(settings: Settings, *, images_per_second: float | None = None) -> str:
  """Return a table: per stage members, steps, work, bytes, time, and whether it is done.

  Args:
    images_per_second: training speed of the whole machine, all members together; None takes what
      was measured on two CPU cores.

  Raises:
    SettingsError: the data set's size is not known in advance (npz) or smaller than its subset,
      the speed is no speed, or the output folder cannot be one.
    DataError: the split leaves a set empty, or too small to be attacked.
  """
  train, test, _, _, classes = dimensions(settings)
  sizes = _split_sizes(settings, train, test)
  run = run_directory(settings)
  flops, weights, speed = work(settings, images_per_second)
  members = len(settings.seeds)
  lines = [
    f"{settings.name}: {settings.model.name} ({weights:,} parameters, {flops / 1e6:.1f} MFLOP an "
    f"image) on {settings.dataset}, {members} members",
    f"retain {sizes['retain']:,}, forget {sizes['forget']:,}, validation {sizes['val']:,}, test "
    f"{test:,} images; run directory {run}",
    f"assumed speed: {speed:,.0f} training images/s over all members",
    "",
    f"{'stage':<12}{'models':>7}{'steps/model':>13}{'PFLOP':>10}{'checkpoint':>12}{'time':>9}",
  ]
  total = np.zeros(2)
  for name in (*ANCHORS, *settings.methods):
    cost = stage_cost(settings, name, sizes, classes, flops, members, speed)
    total += cost[1:]
    done = "done" if (run / "stages" / f"{name}.json").is_file() else ""
    lines.append(
      f"{name:<12}{members:>7}{cost[0]:>13,}{cost[1]:>10.3f}{bytes_text(4 * weights * members):>12}"
      f"{duration(cost[2]):>9}  {done}"
    )
  logits = 4 * classes * (train + test) * members * (2 + len(settings.methods))
  lines += [
    f"{'total':<12}{members * (2 + len(settings.methods)):>7}{'':>13}{total[0]:>10.3f}"
    f"{bytes_text(4 * weights * members * (2 + len(settings.methods))):>12}{duration(total[1]):>9}",
    f"logits: {bytes_text(logits)}",
  ]
  return "\n".join(lines)


def work(settings: Settings, images_per_second: float | None) -> tuple[int, int, float]:
  """Return FLOPs of one image's forward pass, parameters, and training images per second."""
  if images_per_second is not None and not SPEED.holds(images_per_second):
    raise SettingsError(
      f"--images-per-second is {images_per_second}; expected a number {SPEED}: leave it out for "
      "the speed of 2 CPU cores"
    )
  _, _, size, channels, classes = dimensions(settings)
  module = make_model(settings, classes)
  flops = forward_flops(module, size, channels)
  measured = MEASURED_FLOPS.get(settings.model.name, 100e9) / (3 * flops)
  return flops, parameter_count(module, size, channels), images_per_second or measured


def stage_cost(settings, name, sizes, classes, flops, members, speed):
  """Return steps per model, PFLOP and hours of one stage of `members` models."""
  method, hp = get(name), hyperparameters(settings, name)
  known = {"fidelity": method.resolve_fidelity(settings.fidelity), "num_classes": classes}
  options = {name: hp[name] for name in method.static} | known
  phases = method.phases(options)
  passes = accounting.sample_passes(method, phases, hp, sizes, options) * members
  return (
    accounting.steps(method, phases, hp, sizes),
    passes * flops / 1e15,
    passes / 3 / speed / 3600,
  )


def dimensions(settings: Settings) -> tuple[int, int, int, int, int]:
  """Return train and test samples, image size, channels and classes; SettingsError if unknown."""
  if settings.dataset not in SIZES:
    raise SettingsError(
      f"--plan does not know the size of data set '{settings.dataset}' without reading it; "
      f"known: {', '.join(SIZES)}"
    )
  train, test, size, channels, classes = SIZES[settings.dataset]
  return (
    _subset("subset_train", settings.data.subset_train, train),
    _subset("subset_test", settings.data.subset_test, test),
    *(size, channels, classes),
  )


def _subset(name: str, wanted: int, available: int) -> int:
  """Return how many samples of a part are kept; 0 keeps all."""
  if wanted > available:
    raise SettingsError(
      f"config.data.{name} is {wanted}; expected 0 (keep all) or 1 to {available}, the number "
      "there is"
    )
  return wanted or available


def _split_sizes(settings: Settings, train: int, test: int) -> dict[str, int]:
  """Count the samples of each set, refusing what the run itself would refuse."""
  chosen = settings.data
  if chosen.forget:
    stored, others = SIZES[settings.dataset][:2]
    indices = subset_positions(stored, stored + others, chosen.subset_train, chosen.subset_test)
    split = listed_splits(settings, indices, train, train + test)[0]
  else:
    split = data.fixed_split(
      train,
      train + test,
      val_fraction=chosen.val_fraction,
      forget_fraction=chosen.forget_fraction,
      seed=chosen.split_seed,
    )
  check_attackable(split.sizes)
  return split.sizes


def run_directory(settings: Settings) -> Path:
  """Return where the run is or will be; SettingsError where no folder can be made."""
  run = Path(settings.output_dir) / f"{settings.name}-{settings.sweep_hash8}"
  try:
    existing = next((path for path in (run, *run.parents) if path.exists()), run)
    blocked = existing.is_file()
  except OSError as error:
    raise SettingsError(
      f"config.output_dir is '{run.parent}', which cannot be read: {error.strerror}; give another "
      "folder"
    ) from None
  if blocked:
    raise SettingsError(
      f"config.output_dir is '{run.parent}', but {existing} is a file; give a folder that exists "
      "or can be made"
    )
  return run


def duration(hours: float) -> str:
  """Write a time with a unit: seconds below two minutes, then minutes, then hours."""
  if hours < 1 / 30:
    return f"{3600 * hours:.0f} s"
  return f"{60 * hours:.1f} min" if hours < 2 else f"{hours:.1f} h"


def bytes_text(count: float) -> str:
  """Write a number of bytes with a unit."""
  for unit in ("B", "kB", "MB", "GB"):
    if count < 1000:
      return f"{count:.0f} {unit}"
    count /= 1000
  return f"{count:.1f} TB"
