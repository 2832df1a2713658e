"""Chunk size "auto": how many members a device should compute together, by rule or measurement."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from jaxmu.data import Dataset, Split
from jaxmu.engine import memory
from jaxmu.engine.runtime import cache_home
from jaxmu.execution import runner
from jaxmu.execution.capacity import capacity
from jaxmu.settings import Settings
from jaxmu.store import measurements
from jaxmu.studies import preparation
from jaxmu.unlearning import ANCHORS

STEPS = 4  # batches per timed epoch


def resolve_chunk(settings: Settings, dataset: Dataset, splits: Sequence[Split]) -> int:
  """Return the chunk that the settings ask for.

  On CPU "auto" is 1: members one after another keep results bit-identical to single runs, and
  vmapped weights would turn convolutions into grouped ones, 4 to 10 times slower. On accelerators
  chunks 1, 2, 4 ... are timed on the device and the fastest that fits is kept, and remembered per
  model, batch, image, numbers, device kind, memory and jax version.
  """
  if settings.population.chunk != "auto":
    return int(settings.population.chunk)
  if jax.devices()[0].platform == "cpu":
    return 1
  return measured_chunk(settings, dataset, splits, cache_home() / "chunks")


def measured_chunk(
  settings: Settings, dataset: Dataset, splits: Sequence[Split], cache: Path
) -> int:
  """Time training epochs of a few steps at each chunk, or recall what the folder `cache` knows."""
  devices = jax.devices()[: settings.population.devices or None]
  local = math.ceil(len(settings.seeds) / len(devices))
  key = "/".join(
    map(
      str,
      (
        settings.model.name,
        settings.model.width,
        settings.training.batch_size,
        settings.population.compute,
        dataset.images.shape[1:],
        devices[0].device_kind,
        f"{memory.limit(devices) >> 30} GiB",
        local,
        jax.__version__,
      ),
    )
  )
  valid = lambda chunk: type(chunk) is int and 1 <= chunk <= local
  if (known := measurements.find(cache, key, valid)) is not None:
    return known
  chunk, measured = choose_chunk(lambda chunk: _seconds(settings, dataset, splits, chunk), local)
  if measured[chunk] == math.inf:
    return chunk  # not even chunk 1 fits now: nothing to remember
  return measurements.remember(cache, key, chunk, valid)


def choose_chunk(
  seconds_per_member: Callable[[int], float], largest: int
) -> tuple[int, dict[int, float]]:
  """Pick the fastest chunk among 1, 2, 4, ... `largest` by measuring on the device at hand.

  Args:
    seconds_per_member: time of one step per member at a chunk; `inf` where it does not fit.
    largest: members on one device.

  Returns:
    The chunk, and what was measured. Doubling stops once a chunk is 10 % slower than the best.
  """
  measured: dict[int, float] = {}
  chunk = 1
  while chunk <= largest:
    measured[chunk] = seconds_per_member(chunk)
    if measured[chunk] > 1.1 * min(measured.values()):
      break
    chunk *= 2
  return min(measured, key=measured.get), measured


def _seconds(settings, dataset, splits, chunk) -> float:
  """Time one short epoch per member at a chunk; infinite where memory does not suffice.

  What is predicted not to fit is not tried; what is tried and does not fit, counts as slow.
  """
  batch = min(settings.training.batch_size, max(len(splits[0].retain) // STEPS, 1))
  few = [dataclasses.replace(split, retain=split.retain[: STEPS * batch]) for split in splits]
  recipe = preparation.hyperparameters(settings, "retrained") | {
    "num_epochs": 3,
    "batch_size": batch,
  }
  try:
    bench = preparation.build(settings, dataset, few, chunk)
    members = _fitting(bench, recipe, chunk)
    if not members:
      return math.inf
    if members < len(few):  # a smaller population takes as long per member
      fewer = dataclasses.replace(settings, seeds=settings.seeds[:members])
      bench = preparation.build(fewer, dataset, few[:members], chunk)
    return _timed(bench, recipe)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      return math.inf
    raise


def _fitting(bench, recipe, chunk) -> int:
  """Return how many members at this chunk fit into memory by prediction; 0 for not even one chunk.

  Chunk 1 is tried in any case, as there is nothing smaller.
  """
  found = capacity(
    ANCHORS["retrained"],
    bench.problem,
    bench.variable_shapes(),
    hp=[recipe] * len(bench.seeds),
  )
  fits = chunk == 1 or found.total(chunk) <= found.limit
  return found.at_once if fits else 0


def _timed(bench, recipe) -> float:
  times, members = [], len(bench.seeds)
  runner.run(
    ANCHORS["retrained"],
    bench.problem,
    bench.initial_variables(),
    hp=[recipe] * members,
    keys=bench.keys,
    on_leg=lambda leg: times.append(leg.seconds),
  )
  return min(times[1:]) / members
