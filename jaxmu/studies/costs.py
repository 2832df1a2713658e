"""What units cost: steps, work, bytes and seconds, from FLOPs of networks and passes of methods."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

from jaxmu.data.sizes import Image
from jaxmu.errors import SettingsError
from jaxmu.execution import accounting
from jaxmu.models import of_settings
from jaxmu.settings import Settings
from jaxmu.settings.ranges import Range
from jaxmu.store.record import Record
from jaxmu.studies import networks
from jaxmu.studies.study import Member, Outline, Stage
from jaxmu.studies.units import Unit

# FLOP/s that two AVX-512 cores reached in training (docs/benchmarks.md); what this study's own
# finished units reached counts more, and --images-per-second most.
MEASURED_FLOPS = {"resnet18": 290e9, "tinyvit": 130e9, "cnn": 190e9}
SPEED = Range(1e-3, 1e12)  # images a second of one machine


class Cost(NamedTuple):
  """Steps of one member; petaFLOP, bytes kept and seconds of all members."""

  steps: int
  pflop: float
  bytes: int
  seconds: float


class Costs:
  """Costs of members of a study.

  Attributes:
    flops: of one image's forward pass.
    weights: parameters of one model.
    speed: training images per second of the whole machine, all members together.
  """

  def __init__(
    self,
    outline: Outline,
    image: Image,
    record: Record | None = None,
    images_per_second: float | None = None,
  ):
    """Begin; the network is measured when it is asked for, which takes seconds.

    Args:
      image: height, width and channels of the network's input.
      record: finished units say how quick this study is.

    Raises:
      SettingsError: `images_per_second` is no speed.
    """
    if images_per_second is not None and not SPEED.holds(images_per_second):
      raise SettingsError(
        f"--images-per-second is {images_per_second}; expected a number {SPEED}: leave it out for "
        "the speed of 2 CPU cores"
      )
    self.outline, self._image, self._record = outline, image, record
    self._asked = images_per_second

  @property
  def flops(self) -> int:
    return self._network[0]

  @property
  def weights(self) -> int:
    return self._network[1]

  @functools.cached_property
  def speed(self) -> float:
    measured = None if self._record is None else self._record.speed()
    assumed = MEASURED_FLOPS.get(self._settings.model.name, 100e9) / (3 * self.flops)
    return self._asked or measured or assumed

  @property
  def device_flops(self) -> float | None:
    """FLOP/s of one device that finished units reached; None where there are none."""
    passes = None if self._record is None else self._record.passes_per_device_second()
    return None if passes is None else passes * self.flops

  def of(self, stage: Stage, members: Sequence[Member]) -> Cost:
    """Return the cost of some members of a stage; steps are those of the longest one."""
    if not members:
      return Cost(0, 0.0, 0, 0.0)
    steps, passes = 0, 0.0
    for alike in _alike(members):
      own_steps, own_passes = accounting.work(
        stage.method,
        alike[0].hp,
        alike[0].sets.trained_sizes,
        fidelity=self._settings.fidelity,
        num_classes=self.outline.num_classes,
        span=stage.span,
      )
      steps, passes = max(steps, own_steps), passes + own_passes * len(alike)
    kept = self._bytes(stage) * len(members)
    return Cost(steps, passes * self.flops / 1e15, kept, passes / 3 / self.speed)

  def work(self, units: Sequence[Unit]) -> float:
    """Return the petaFLOP of units."""
    return sum(self.of(unit.stage, unit.members).pflop for unit in units)

  @functools.cached_property
  def _network(self) -> tuple[int, int]:
    height, width, channels = self._image
    module = of_settings(self._settings, self.outline.num_classes, image=self._image)
    return networks.cost(module, height if height == width else (height, width), channels)

  @property
  def _settings(self) -> Settings:
    return self.outline.settings

  def _bytes(self, stage: Stage) -> int:
    """Return what is kept of one member."""
    samples = self.outline.num_samples if stage.samples is None else len(stage.samples)
    kept = {
      "variables": 4 * self.weights,
      "logits": 4 * self.outline.num_classes * samples,
      "scores": 5 * samples,
    }
    return sum(count for name, count in kept.items() if name in stage.keep)


def _alike(members: Sequence[Member]) -> list[list[Member]]:
  """Group members that share their hyper-parameters and the sizes of their sets."""
  sizes: dict[int, tuple[int, ...]] = {}
  found: dict[tuple[int, tuple[int, ...]], list[Member]] = {}
  for member in members:
    if id(member.sets) not in sizes:
      sizes[id(member.sets)] = tuple(member.sets.trained_sizes.values())
    found.setdefault((id(member.hp), sizes[id(member.sets)]), []).append(member)
  return list(found.values())
