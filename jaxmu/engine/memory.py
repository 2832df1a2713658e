"""How many bytes a population needs on a device, before anything is allocated.

XLA says of a compiled program what its arguments, results and intermediate values take. Arguments
and results grow with the number of places; intermediate values do not, as one chunk is computed
after the other. So the program of any number of members tells the bytes of every other:

    bytes(places) = fixed + per_place * places

(Where XLA does keep a copy per place, the line of many members is too high for few: the safe side.)
"""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmu.engine.population import Population, Program, nbytes
from jaxmu.engine.runtime import physical_memory

CGROUP = Path("/sys/fs/cgroup")
HEADROOM = 0.9  # share of a device that a prediction may fill; allocators leave gaps


class Memory(NamedTuple):
  """Bytes that one device needs, as a function of the places for members on it.

  Attributes:
    fixed: what all members share (data), and the intermediate values of one chunk.
    per_place: state, constants and results of one member.
  """

  fixed: int
  per_place: int

  def total(self, places: int) -> int:
    """Return the bytes for so many places on one device."""
    return self.fixed + self.per_place * places

  def fitting(self, limit: int) -> int:
    """Return how many places fit into `limit` bytes; 0 where not even the fixed part does."""
    return max(0, (limit - self.fixed) // max(self.per_place, 1))


def measure(program: Program, state: Any, constant: Any, shared: Any) -> Memory:
  """Ask XLA what a program needs; it is compiled, and kept, but not run.

  With fewer than two chunks per device the intermediate values of one are counted, which may be
  some percent less than with more.

  Args:
    state, constant, shared: arrays, or what `Population.shapes` makes of them.
  """
  stats: Any = program.compile(state, constant, shared).memory_analysis()
  places = program.population.local
  own = nbytes((state, constant)) // len(program.population.devices)
  results = stats.output_size_in_bytes - stats.alias_size_in_bytes  # the state is updated in place
  every = stats.argument_size_in_bytes + results + stats.temp_size_in_bytes
  per_place = math.ceil((own + results) / places)
  return Memory(every - per_place * places, per_place)


def outputs(program: Program, state: Any, constant: Any, shared: Any) -> Any:
  """Describe what a program returns, without running it."""
  sharding = program.population.sharding
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
    program.compile(state, constant, shared).out_info,
  )


def limit(devices: Sequence[jax.Device]) -> int:
  """Return the bytes that a population may fill on each of the devices.

  Accelerators know their limit; CPU devices share the machine's memory evenly.
  """
  known = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in devices]
  if all(known):
    return int(HEADROOM * min(known))
  return int(HEADROOM * physical_memory() / len(devices))


def free(device: jax.Device) -> int:
  """Return the bytes that are free on an accelerator, or on the host where it does not tell."""
  known = device.memory_stats() or {}
  if "bytes_limit" not in known:
    return free_on_host()
  return max(0, known["bytes_limit"] - known.get("bytes_in_use", 0))


def free_on_host() -> int:
  """Return the bytes of the machine, or of the container, that programs do not use."""
  found = physical_memory()
  with contextlib.suppress(OSError, ValueError, StopIteration):  # not Linux
    lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    found = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
  with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
    most, used = ((CGROUP / f"memory.{name}").read_text("utf-8") for name in ("max", "current"))
    found = min(found, max(0, int(most) - int(used)))
  return found


def members_within(population: Population, needs: Sequence[Memory], limit: int) -> int:
  """Return how many members fit at once: whole chunks on every device, at least one on each.

  One chunk per device is tried even where the prediction says no: nothing smaller exists.
  """
  places = min(need.fitting(limit) for need in needs)
  chunks = max(places // population.chunk, 1)
  return min(population.size, chunks * population.chunk * len(population.devices))
