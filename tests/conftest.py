"""Two single-threaded CPU devices and the compilation cache, as the programs in bin/ use them.

And faster compilation: most of the suite's time goes into it, and XLA's older fusion emitters, with
which populations of small models are compiled anyway, need a sixth less. XLA_FLAGS that name them
win; `make test-slow` tests with the newer ones.
"""

import os
from importlib import metadata

import pytest

from jaxmu import runtime

EMITTERS = "--xla_cpu_use_fusion_emitters"
KNOWN_TO = (
  0,
  10,
)  # the newest jaxlib, by its first two numbers, seen to know the flag: others abort

_version = tuple(int(part) for part in metadata.version("jaxlib").split(".")[:2])
if EMITTERS not in os.environ.get("XLA_FLAGS", "") and _version <= KNOWN_TO:
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {EMITTERS}=false".strip()

runtime.configure(2)


@pytest.fixture
def x64():
  """Compute in float64, so that a comparison's tolerance is round-off and nothing else."""
  import jax

  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="module")
def module_x64():
  """Compute all tests of a module in float64, and what its module-wide fixtures make."""
  import jax

  with jax.enable_x64(True):
    yield
