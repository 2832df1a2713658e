"""Two single-threaded CPU devices and the compilation cache, as the programs in bin/ use them.

Under strict promotion: arrays of different types or ranks meet only where the code says how.

And faster compilation, which is most of the suite's time: less of the compiler's optimisation, and
XLA's older fusion emitters, with which populations of small models are compiled anyway. With
JAXMU_TEST_COMPILER=full, as `make test-slow` has it, tests run what users run.
"""

import os
import sys
from importlib import metadata

import jax
import pytest

from jaxmu.engine import runtime

KNOWN_TO = (0, 10)  # newest jaxlib seen to know the emitters' flag; others may abort on it
if os.environ.get("JAXMU_TEST_COMPILER") != "full":
  flags = [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=1"]
  if tuple(int(part) for part in metadata.version("jaxlib").split(".")[:2]) <= KNOWN_TO:
    flags.append("--xla_cpu_use_fusion_emitters=false")
  os.environ["XLA_FLAGS"] = " ".join(flags).strip()

runtime.configure(2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
  """Compute in float64, so that a comparison's tolerance is round-off and nothing else."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="module")
def module_x64():
  """Compute all tests of a module in float64, and what its module-wide fixtures make."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
  """Work in a folder of a user's own modules, which are forgotten afterwards."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  before = set(sys.modules)
  yield tmp_path
  for name in set(sys.modules) - before:
    file = getattr(sys.modules[name], "__file__", None) or ""
    if file.startswith(str(tmp_path)):
      del sys.modules[name]
