"""Chunk size "auto": how many members a device should compute together, by rule or measurement."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jax

from jaxmu import files
from jaxmu.data import Dataset, Split
from jaxmu.population import choose_chunk
from jaxmu.runtime import cache_home
from jaxmu.settings import Settings
from jaxmu.sweep import setup
from jaxmu.unlearning import ANCHORS, runner

STEPS = 4  # batches per timed epoch


def resolve_chunk(settings: Settings, dataset: Dataset, splits: Sequence[Split]) -> int:
  """Return the chunk that the settings ask for.

  On CPU "auto" is 1: members one after another keep results bit-identical to single runs, and
  vmapped weights would turn convolutions into grouped ones, 4 to 10 times slower. On accelerators
  chunks 1, 2, 4 ... are timed on the device and the fastest that fits is kept, and remembered per
  model, batch, image, device kind and jax version.
  """
  if settings.population.chunk != "auto":
    return int(settings.population.chunk)
  if jax.devices()[0].platform == "cpu":
    return 1
  return measured_chunk(settings, dataset, splits, cache_home() / "chunks.json")


def measured_chunk(
  settings: Settings, dataset: Dataset, splits: Sequence[Split], cache: Path
) -> int:
  """Time training epochs of a few steps at each chunk, or recall an earlier measurement."""
  devices = jax.devices()[: settings.population.devices or None]
  local = math.ceil(len(settings.seeds) / len(devices))
  key = "/".join(
    map(str, (
      settings.model.name, settings.model.width, settings.training.batch_size,
      dataset.images.shape[1:], devices[0].device_kind, local, jax.__version__,
    ))
  )  # fmt: skip
  known = json.loads(cache.read_text()) if cache.is_file() else {}
  if key not in known:
    known[key], _ = choose_chunk(lambda chunk: _seconds(settings, dataset, splits, chunk), local)
    cache.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(cache, known)
  return int(known[key])


def _seconds(settings, dataset, splits, chunk) -> float:
  """Time one short epoch per member at a chunk; infinite where memory does not suffice."""
  batch = min(settings.training.batch_size, max(len(splits[0].retain) // STEPS, 1))
  few = [dataclasses.replace(split, retain=split.retain[: STEPS * batch]) for split in splits]
  bench = setup.build(settings, dataset, few, chunk)
  recipe = setup.hyperparameters(settings, "retrained") | {"num_epochs": 3, "batch_size": batch}
  times = []
  try:
    runner.run(
      ANCHORS["retrained"], bench.problem, bench.initial_variables(),
      hp=[recipe] * len(settings.seeds), keys=bench.keys,
      on_leg=lambda leg: times.append(leg.seconds),
    )  # fmt: skip
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      return math.inf
    raise
  return min(times[1:]) / len(settings.seeds)
