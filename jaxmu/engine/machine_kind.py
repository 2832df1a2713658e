"""What compiled programs depend on, as the name of a folder, read without touching a device.

jax's own name of an entry says versions and flags. It does not say the processor in every version,
and code for another one's instructions ends a process with SIGILL.
"""

import hashlib
import platform
import re
from collections.abc import Mapping
from pathlib import Path

SYSTEM = Path("/")
# What tells processors apart in /proc/cpuinfo: on x86, then on Arm.
FIELDS = (
  *("vendor_id", "cpu family", "model", "model name", "flags"),
  *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
)


def folder_name(environment: Mapping[str, str], system: Path = SYSTEM) -> str:
  """Name the folder of all programs that a process with this environment may run.

  It holds the versions of jax and jaxlib, the accelerators' kinds, and the processor's. The
  processor is left out only where JAX_PLATFORMS names an accelerator, as jax then computes there or
  fails: where it may choose, it may choose the processor.
  """
  import jax
  import jaxlib

  asked = environment.get("JAX_PLATFORMS", "").partition(",")[0]
  parts = [f"jax{jax.__version__}", f"jaxlib{jaxlib.__version__}"]
  if asked != "cpu":
    parts += [asked, *accelerators(environment, system)]
  if asked in ("", "cpu"):
    parts += ["cpu", processor(system)]
  return "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts if part)


def accelerators(environment: Mapping[str, str], system: Path = SYSTEM) -> list[str]:
  """Name the kinds of NVIDIA GPUs of this machine, unless all are hidden, and of its TPU."""
  kinds = {environment.get("TPU_ACCELERATOR_TYPE", "")}
  if environment.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1"):
    for card in (system / "proc/driver/nvidia/gpus").glob("*/information"):
      kinds.add(_fields(card).get("Model", ""))
  return sorted(kinds - {""})


def processor(system: Path = SYSTEM) -> str:
  """Return a hash of the processor's model and instructions."""
  found = _fields(system / "proc/cpuinfo")
  told = [f"{name}: {' '.join(sorted(found[name].split()))}" for name in FIELDS if name in found]
  told = [platform.machine(), *(told or [platform.system(), platform.processor()])]
  return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def _fields(path: Path) -> dict[str, str]:
  """Read the first paragraph of `name: value` lines; empty where the file cannot be read."""
  try:
    first = path.read_text(encoding="utf-8", errors="replace").strip().partition("\n\n")[0]
  except OSError:
    return {}
  pairs = (line.partition(":") for line in first.splitlines())
  return {name.strip(): value.strip() for name, _, value in pairs}
