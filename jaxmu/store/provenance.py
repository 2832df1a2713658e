"""Where a run's numbers come from: versions, devices, data, split, methods, commit."""

import datetime
import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jaxmu.data import Dataset, Split
from jaxmu.settings import Settings
from jaxmu.store.manifest import (
  NOT_INSTALLED,
  DatasetOrigin,
  Device,
  Machine,
  Manifest,
  MethodDescription,
  SplitOrigin,
)
from jaxmu.training.method import Method
from jaxmu.unlearning import describe

PACKAGES = ("jaxmu", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


def manifest(
  settings: Settings,
  dataset: Dataset,
  splits: Sequence[Split],
  methods: Mapping[str, MethodDescription],
  *,
  chunk: int,
  lowering: Mapping[str, str],
  command: str,
) -> Manifest:
  """Describe what a run is made with: versions, devices, data, split, methods.

  Args:
    splits: of one member a seed.
    methods: by stage.
    lowering: how each convolution of the network is computed, case -> name.
  """
  devices = jax.devices()[: settings.population.devices or None]
  return Manifest(
    versions={"python": platform.python_version(), **_versions()},
    device=Device(devices[0].platform, devices[0].device_kind, len(devices)),
    machine=Machine(platform.system(), _processor()),
    seeds=settings.seeds,
    dataset=_dataset(dataset),
    split=SplitOrigin(_joint_hash(splits), dict(splits[0].sizes), settings.data.split_per_seed),
    chunk=chunk,
    lowering=lowering,
    commit=_commit(),
    command=command,
    date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    methods=methods,
  )


def described(method: Method, hp: Mapping[str, Any]) -> MethodDescription:
  """Describe a method with the hyper-parameters of a run."""
  told = describe(method) | {"hyperparameters": dict(hp)}
  return MethodDescription(**{each.name: told[each.name] for each in fields(MethodDescription)})


def changed_versions(before: Manifest, now: Manifest) -> list[str]:
  """Name software and devices that a run began with and that are others now."""
  then, present = ({**known.versions, "device": known.device.kind} for known in (before, now))
  differs = lambda name: name in then and then[name] != present[name]
  return [f"{name} {then[name]} -> {present[name]}" for name in present if differs(name)]


def _dataset(dataset: Dataset) -> DatasetOrigin:
  return DatasetOrigin(
    name=dataset.name,
    sha256=dataset.sha256,
    num_train=dataset.num_train,
    num_classes=dataset.num_classes,
    image_shape=dataset.images.shape[1:],
    sizes={"total": len(dataset.labels)},
    class_names=dataset.class_names,
    transform=dataset.transform,
  )


def _joint_hash(splits: Sequence[Split]) -> str:
  """Give the hash of the one split that all members share, or one over all of theirs."""
  hashes = sorted({split.sha256 for split in dict.fromkeys(splits)})
  return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _versions() -> dict[str, str]:
  found = {}
  for package in PACKAGES:
    try:
      found[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
      found[package] = NOT_INSTALLED
  return found


def _processor() -> str:
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
      return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def _commit() -> str:
  """Return the commit of the source tree, or "" outside a checkout."""
  command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
  try:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return result.stdout.strip() if result.returncode == 0 else ""
