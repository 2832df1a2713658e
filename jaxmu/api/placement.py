"""Where samples are while a program runs: on the device, or on the host if they are too many."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmu.data import on_host, rows
from jaxmu.engine import memory
from jaxmu.engine.population import Population
from jaxmu.errors import DataError, shown
from jaxmu.settings.ranges import Range, Unfit, fit
from jaxmu.training.task import Arrays

LIMIT = Range(0, 2**62)
SHARE = 0.5  # of an accelerator's free memory that samples may take
SHARE_OF_HOST, MOST_OF_HOST = 0.25, 2**30  # of a machine's, whose samples are at hand as they lie


def limit(given: Any) -> int | None:
  """Return a limit in bytes, or None for that of the device; `DataError` for what is none."""
  try:
    return None if given is None else fit(given, int, LIMIT)
  except Unfit as expected:
    raise DataError(f"memory_limit must be {expected} of bytes, got {shown(given)}") from None


def placed(population: Population, sets: Sequence[Any], y: Any, limit: int | None = None) -> Arrays:
  """Lay out samples for a population's programs, set after set.

  A single array is not copied on a CPU, where jax reads it as it lies, in a file or in memory.

  Args:
    sets: arrays or rows [n_i, ...].
    y: labels of all of them, [N].
    limit: bytes that may be copied to the device; more stay on the host, and are read as programs
      need them, with the same numbers as result. None: what `allowed` says, and a single array of
      NumPy's always lies as it does on a CPU.
  """
  device, size = population.devices[0], sum(x.nbytes for x in sets)
  in_place = device.platform == "cpu" and len(sets) == 1 and not isinstance(sets[0], rows.Rows)
  if limit is None:
    limit = size if in_place else allowed(device)
  if size > limit:
    return Arrays(on_host.place(rows.joined(sets), population.share), population.share(y))
  if any(isinstance(x, rows.Rows) for x in sets):
    whole = rows.joined(sets)
    x = whole.of_type(jax.dtypes.canonicalize_dtype(whole.dtype)).whole()
  else:
    x = sets[0] if len(sets) == 1 else jnp.concatenate([jnp.asarray(part) for part in sets])
  return population.share(Arrays(x, y))


def allowed(device: jax.Device) -> int:
  """Return the bytes of samples that are copied to a device."""
  host = min(int(SHARE_OF_HOST * memory.free_on_host()), MOST_OF_HOST)
  return host if device.platform == "cpu" else int(SHARE * memory.free(device))


@contextlib.contextmanager
def reading(arrays: Arrays) -> Iterator[None]:
  """Raise `DataError` where programs fail because samples on the host cannot be read."""
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    failed = getattr(getattr(arrays.images, "reader", None), "error", None)
    if failed is None:
      raise
    raise failed from error
