"""What a run began with: the form of manifest.json, in the order in which it is written."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Device:
  """The accelerators, or the processor, that the population was laid out on."""

  platform: str  # "cpu", "gpu", "tpu"
  kind: str
  count: int


@dataclass(frozen=True)
class Machine:
  """The host."""

  system: str
  processor: str


@dataclass(frozen=True)
class DatasetOrigin:
  """Which samples; `sizes` counts them, `image_shape` is [H, W, C]."""

  name: str
  sha256: str
  num_train: int
  num_classes: int
  image_shape: tuple[int, ...]
  sizes: Mapping[str, int]
  class_names: tuple[str, ...] = ()
  transform: str = ""  # of `Dataset.transform`; absent in runs that began before it was kept


@dataclass(frozen=True)
class SplitOrigin:
  """Who is forgotten: samples per set of one member, and one hash over all members' splits."""

  sha256: str
  sizes: Mapping[str, int]
  per_seed: bool


@dataclass(frozen=True)
class MethodDescription:
  """A method as `unlearning.describe` tells it, with the hyper-parameters of this run.

  `search` and `draws` map hyper-parameters to their ranges, and random draws to their shapes.
  """

  label: str  # name for readers
  title: str
  summary: str
  paper: str
  needs: tuple[str, ...]
  hyperparameters: Mapping[str, Any]
  choices: Mapping[str, Any]
  search: Mapping[str, Any]
  ignored: tuple[str, ...]
  fidelity: str
  fidelities: tuple[str, ...]
  oddities: str
  draws: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
  """What a run began with.

  Attributes:
    versions: of Python and of packages.
    chunk: members that a device computed together.
    lowering: how each convolution of the network was computed, case -> name.
    commit: of the source tree; "" outside a checkout.
    date: ISO 8601, UTC.
    methods: original, retrained, then the methods in the order of the config.
  """

  versions: Mapping[str, str]
  device: Device
  machine: Machine
  seeds: tuple[int, ...]
  dataset: DatasetOrigin
  split: SplitOrigin
  chunk: int
  lowering: Mapping[str, str]
  commit: str
  command: str
  date: str
  methods: Mapping[str, MethodDescription]

  def grown(self, now: "Manifest") -> "Manifest":
    """Return what the run is with more seeds, other splits or other methods than it began with."""
    asked = (now.seeds, now.split, now.methods)
    if asked == (self.seeds, self.split, self.methods):
      return self
    return dataclasses.replace(
      self, seeds=now.seeds, split=now.split, methods=now.methods, command=now.command
    )

  def version(self, package: str) -> str:
    """Return the version of a package, "not installed" where none is listed."""
    return self.versions.get(package, NOT_INSTALLED)
