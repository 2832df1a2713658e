"""Chunk size "auto": how many members a device should compute together, by rule or measurement."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax

from jaxmu.data import Dataset, Split
from jaxmu.engine import memory
from jaxmu.engine.population import member_keys
from jaxmu.execution import runner
from jaxmu.execution.capacity import capacity
from jaxmu.execution.setup import Setup
from jaxmu.settings import Settings
from jaxmu.training.anchors import of_recipe, recipe

STEPS = 4  # batches per timed epoch


class Known(Protocol):
  """What was measured before, by keys that say on what (`store.measurements`)."""

  def find(self, key: str, valid: Callable[[Any], bool]) -> Any:
    """Return what was remembered under `key`; None where nothing valid was."""

  def remember(self, key: str, value: Any, valid: Callable[[Any], bool]) -> Any:
    """Write a value under `key`; return it, or what another process just wrote."""


def resolve_chunk(
  settings: Settings, dataset: Dataset, splits: Sequence[Split], known: Known
) -> int:
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
  return measured_chunk(settings, dataset, splits, known)


def measured_chunk(
  settings: Settings, dataset: Dataset, splits: Sequence[Split], known: Known
) -> int:
  """Time training epochs of a few steps at each chunk, or recall what is known."""
  devices = jax.devices()[: settings.population.devices or None]
  local = math.ceil(len(splits) / len(devices))
  key = "/".join(
    map(
      str,
      (
        settings.model.name,
        *filter(None, [settings.own.of("model.name"), settings.recipe.optimizer]),
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
  if (recalled := known.find(key, valid)) is not None:
    return int(recalled)
  chunk, measured = choose_chunk(lambda chunk: _seconds(settings, dataset, splits, chunk), local)
  if measured[chunk] == math.inf:
    return chunk  # not even chunk 1 fits now: nothing to remember
  return int(known.remember(key, chunk, valid))


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
  return min(measured, key=measured.__getitem__), measured


def _seconds(settings: Settings, dataset: Dataset, splits: Sequence[Split], chunk: int) -> float:
  """Time one short epoch per member at a chunk; infinite where memory does not suffice.

  What is predicted not to fit is not tried; what is tried and does not fit, counts as slow.
  """
  batch = min(settings.training.batch_size, max(len(splits[0].retain) // STEPS, 1))
  few = [dataclasses.replace(split, retain=split.retain[: STEPS * batch]) for split in splits]
  hp = recipe(settings.training, "retrained") | {"num_epochs": 3, "batch_size": batch}
  setup = Setup(settings, dataset, chunk)
  try:
    # A smaller population takes as long per member.
    fitting = few[: _fitting(setup, few, hp)]
    return _timed(setup, fitting, hp) if fitting else math.inf
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      return math.inf
    raise


def _fitting(setup: Setup, splits: Sequence[Split], hp: dict[str, Any]) -> int:
  """Return how many members at this chunk fit into memory by prediction; 0 for not even one chunk.

  Chunk 1 is tried in any case, as there is nothing smaller.
  """
  found = capacity(
    of_recipe("retrained", setup.settings.recipe),
    setup.problem(splits),
    setup.variable_shapes(len(splits)),
    hp=[hp] * len(splits),
  )
  fits = setup.chunk == 1 or found.total(setup.chunk) <= found.limit
  return found.at_once if fits else 0


def _timed(setup: Setup, splits: Sequence[Split], hp: dict[str, Any]) -> float:
  times: list[float] = []
  problem, keys = setup.problem(splits), member_keys(range(len(splits)))
  runner.run(
    of_recipe("retrained", setup.settings.recipe),
    problem,
    setup.initial_variables(problem.population, keys),
    hp=[hp] * len(splits),
    keys=keys,
    on_leg=lambda leg: times.append(leg.seconds),
  )
  return min(times[1:]) / len(splits)
