"""How jax is set up: CPU cores as devices, one TPU host alone, compilation cache, options, keys."""

import contextlib
import functools
import math
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmu.engine import compilation_cache, machine_kind
from jaxmu.errors import UserError

CACHE_ENV = "JAX_COMPILATION_CACHE_DIR"
SHARED_ENV = "JAXMU_SHARED_CACHE"
ONE_HOST_ENV = "JAXMU_ONE_TPU_HOST"
# With one device per core, threads inside an operation would only fight for the cores.
SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false"
SMALL = 8 * 2**20  # bytes of a member, below which compiling counts for more than a fast step
CHIP_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}  # how a host's TPU chips lie
QUICK = {"xla_cpu_use_fusion_emitters": False}


def cache_home() -> Path:
  """Folder for everything that can be made again: compiled programs, decoded data, tuned chunks.

  Users without a home folder that they can write to, as containers have them, get a temporary one.
  """
  if root := os.environ.get("XDG_CACHE_HOME"):
    return Path(root) / "jaxmu"
  try:
    cache = Path.home() / ".cache" / "jaxmu"
  except RuntimeError:  # neither HOME nor an entry in the list of users
    return _temporary_cache(tempfile.gettempdir())
  there = next(folder for folder in (cache, *cache.parents) if folder.exists())
  if there == cache or os.access(there, os.W_OK):
    return cache
  return _temporary_cache(tempfile.gettempdir())


@functools.cache
def _temporary_cache(folder: str) -> Path:
  """Return this user's cache in a folder that all may write to: nobody else may fill it.

  Compiled programs lie there, and what they do is done.
  """
  path = Path(folder) / f"jaxmu-cache-{os.getuid()}"
  with contextlib.suppress(OSError):
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
      return path
  return Path(tempfile.mkdtemp(prefix="jaxmu-cache-"))


def cores() -> int:
  """CPU cores that this process may use: by affinity, its Slurm task and its container's quota."""
  known = hasattr(os, "sched_getaffinity")
  found = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
  task = os.environ.get("SLURM_CPUS_PER_TASK", "")
  if task.isdecimal() and int(task):  # Slurm without cgroups lets each task see all cores
    found = min(found, int(task))
  return min(found, _quota(Path("/sys/fs/cgroup")) or found)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
  """Name the NVIDIA GPUs that this process may use, without opening them."""
  given = environment.get("CUDA_VISIBLE_DEVICES")
  if given is not None:
    return [name for name in given.split(",") if name.strip() and name != "-1"]
  if environment.get("JAX_PLATFORMS", "") == "cpu":
    return []
  return [str(k) for k, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]


def _quota(cgroups: Path) -> int:
  """Return the container's share of CPU time in cores, rounded up; 0 where it has no limit."""
  with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # absent, or "max"
    quota, period = map(int, (cgroups / "cpu.max").read_text(encoding="utf-8").split())
    return math.ceil(quota / period)
  with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
    quota, period = (
      int((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="utf-8"))
      for name in ("quota", "period")
    )
    return max(math.ceil(quota / period), 0)  # -1: none
  return 0


def physical_memory() -> int:
  """Bytes of memory of this machine, or of the container that this process runs in."""
  memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  for name in ("memory.max", "memory/memory.limit_in_bytes"):
    with contextlib.suppress(OSError, ValueError):  # absent, or "max"
      memory = min(memory, int((Path("/sys/fs/cgroup") / name).read_text("utf-8")))
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
  os.environ.update(one_tpu_host(os.environ))
  import jax

  with contextlib.suppress(RuntimeError):  # devices that run already stay as they are
    jax.config.update("jax_num_cpu_devices", cpu_devices or cores())
  jax.config.update("jax_compilation_cache_dir", _open_cache())
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  require_threefry()


def _open_cache() -> str:
  """Choose the folder of compiled programs, mend it, and fill it from the shared one, if any."""
  import jax

  given, shared = os.environ.get(CACHE_ENV), os.environ.get(SHARED_ENV, "")
  if given is not None and (not given or "://" in given):
    return given  # none, or a store of objects
  kind = machine_kind.folder_name(os.environ)
  if not shared:
    local = Path(given or cache_home() / "xla" / kind)
    compilation_cache.start(local)
    return str(local)
  config: Any = jax.config
  if config.jax_compilation_cache_max_size != -1:
    raise UserError(
      f"{SHARED_ENV} and JAX_COMPILATION_CACHE_MAX_SIZE are both set, but jax can limit only a "
      "cache that it alone fills: unset one of them"
    )
  # Else an entry's name depends on the path of the local folder, which jax derives this cache from.
  jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
  local = Path(given or _temporary_cache(tempfile.gettempdir()) / "xla") / kind
  compilation_cache.start(local, Path(shared).expanduser() / kind)
  return str(local)


def one_tpu_host(environment: Mapping[str, str], devices: Path = Path("/dev")) -> dict[str, str]:
  """Return variables that make this host's TPU chips a slice of their own.

  Members never communicate, so each host of a slice works units by itself. That is done where
  TPU_WORKER_HOSTNAMES names several hosts, and where JAXMU_ONE_TPU_HOST is 1; never where it is 0,
  where TPU_PROCESS_BOUNDS is set already, or where JAX_PLATFORMS asks for something else.

  Unverified: written from https://github.com/pytorch/xla/issues/7714, never run on a TPU.

  Raises:
    UserError: JAXMU_ONE_TPU_HOST is 1, but this host has no TPU chips.
  """
  asked = environment.get(ONE_HOST_ENV, "")
  several = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
  other = environment.get("JAX_PLATFORMS", "tpu").partition(",")[0] not in ("", "tpu")
  if asked == "0" or other or "TPU_PROCESS_BOUNDS" in environment or not (several or asked == "1"):
    return {}
  chips = len([*devices.glob("accel[0-9]*"), *devices.glob("vfio/[0-9]*")])
  if not chips and asked == "1":
    raise UserError(f"{ONE_HOST_ENV} is 1, but {devices} holds no TPU chips: unset it")
  if not chips:
    return {}
  usual = CHIP_BOUNDS.get(chips, f"{chips},1,1")
  return {
    "TPU_SKIP_MDS_QUERY": "1",  # else the cloud's metadata describe the whole slice
    "TPU_PROCESS_BOUNDS": "1,1,1",
    "TPU_CHIPS_PER_PROCESS_BOUNDS": environment.get("TPU_CHIPS_PER_HOST_BOUNDS", usual),
    "TPU_VISIBLE_CHIPS": ",".join(map(str, range(chips))),
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
  }


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
