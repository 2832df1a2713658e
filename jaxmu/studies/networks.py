"""What networks cost, remembered: tracing one takes seconds, and a plan of all cells has many."""

import functools
import hashlib
from importlib import metadata
from pathlib import Path

import flax.linen as nn

import jaxmu
from jaxmu.engine.runtime import cache_home
from jaxmu.models.cost import Size, network_cost
from jaxmu.store.measurements import Measurements

CODE = ("models", "kernels")  # rooms that decide what a network computes


@functools.lru_cache(maxsize=64)
def cost(module: nn.Module, image_size: Size, channels: int) -> tuple[int, int]:
  """Return FLOPs of one image's forward pass, and the number of parameters.

  They are looked up where this version of the code has counted them before on this machine. A
  network from elsewhere is counted anew by each process: nobody knows what its code depends on.
  """
  if not type(module).__module__.startswith(f"{jaxmu.__name__}.models."):
    return network_cost(module, image_size, channels)
  known = Measurements(cache_home() / "networks")
  key = "/".join(
    map(str, (" ".join(repr(module).split()), image_size, channels, *_versions(), _code()))
  )
  if (found := known.find(key, _valid)) is None:
    found = known.remember(key, list(network_cost(module, image_size, channels)), _valid)
  flops, parameters = found
  return flops, parameters


def _valid(value: object) -> bool:
  pair = isinstance(value, list) and len(value) == 2
  return pair and all(type(count) is int and count > 0 for count in value)


def _versions() -> list[str]:
  return [f"{name} {metadata.version(name)}" for name in ("jax", "flax")]


@functools.cache
def _code() -> str:
  """Hash the code of our networks."""
  home, digest = Path(jaxmu.__file__).parent, hashlib.sha256()
  for path in sorted(path for room in CODE for path in (home / room).rglob("*.py")):
    digest.update(f"{path.relative_to(home)}\n".encode() + path.read_bytes())
  return digest.hexdigest()[:16]
