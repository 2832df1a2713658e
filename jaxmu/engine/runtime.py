"""How jax is set up: CPU cores as devices, compilation cache and options, keys."""

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

CACHE_ENV = "JAX_COMPILATION_CACHE_DIR"
# With one device per core, threads inside an operation would only fight for the cores.
SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false"
SMALL = 8 * 2**20  # bytes of a member, below which compiling counts for more than a fast step
QUICK = {"xla_cpu_use_fusion_emitters": False}


def cache_home() -> Path:
  """Folder for everything that can be made again: compiled programs, decoded data, tuned chunks."""
  root = os.environ.get("XDG_CACHE_HOME")
  return (Path(root) if root else Path.home() / ".cache") / "jaxmu"


def cores() -> int:
  """CPU cores that this process may use (affinity respected)."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def physical_memory() -> int:
  """Bytes of memory of this machine, or of the container that this process runs in."""
  memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  for name in ("memory.max", "memory/memory.limit_in_bytes"):
    with contextlib.suppress(OSError, ValueError):  # absent, or "max"
      memory = min(memory, int((Path("/sys/fs/cgroup") / name).read_text()))
  return memory


def configure(cpu_devices: int = 0) -> None:
  """Set jax up for populations; call it before anything touches a jax device.

  CPU cores become devices with one thread each, so that members of a population run side by side
  without synchronising inside an operation. The persistent compilation cache is switched on for
  every program, however small. On GPUs and TPUs only the cache and the random numbers matter.

  Args:
    cpu_devices: number of CPU devices; 0 takes one per core.
  """
  flags = os.environ.get("XLA_FLAGS", "")
  if "xla_cpu_multi_thread_eigen" not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} {SINGLE_THREADED}".strip()
  import jax

  with contextlib.suppress(RuntimeError):  # devices that run already stay as they are
    jax.config.update("jax_num_cpu_devices", cpu_devices or cores())
  jax.config.update(
    "jax_compilation_cache_dir", os.environ.get(CACHE_ENV, str(cache_home() / "xla"))
  )
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  require_threefry()


def require_threefry() -> None:
  """Raise RuntimeError unless keys are threefry; others give all members of a vmap one key."""
  import jax

  config: Any = jax.config  # whose options are attributes that type checkers do not see
  implementation = config.jax_default_prng_impl
  if "threefry" not in implementation:
    raise RuntimeError(
      f"jax_default_prng_impl is '{implementation}', but populations need 'threefry2x32': "
      "other generators ignore the member's key under vmap, and ten initialisations would be one"
    )


def compiler_options(bytes_per_member: int) -> dict[str, Any] | None:
  """Choose how XLA compiles a program: fast compilation for small models on a CPU.

  XLA's newer fusion emitters make steps of ResNet-18 (45 MB) 15 % faster and steps of a small CNN
  (0.3 MB) none, but every compilation takes twice as long. The choice looks at one member alone, so
  that K members compile to the body of one.
  """
  import jax

  small = bytes_per_member < SMALL and jax.default_backend() == "cpu"
  return dict(QUICK) if small and _knows_quick() else None


@functools.lru_cache(maxsize=1)
def _knows_quick() -> bool:
  """Tell whether this version of XLA has the option."""
  import jax

  try:
    jax.jit(lambda: 0).lower().compile(compiler_options=dict(QUICK))
  except jax.errors.JaxRuntimeError:
    return False
  return True
