"""Residual networks in their ImageNet layout, also at 32 pixels (He et al. 2015), and ResNet-18.

ResNet-18 is the specification's (data_models 4); all are torchvision's, layer by layer.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxmu.kernels.conv import Choice
from jaxmu.kernels.pool import max_pool
from jaxmu.models.image_sizes import check_image_size
from jaxmu.models.layers import ConvNorm, Linear

SIZES = range(8, 513)


class BasicBlock(nn.Module):
  """Add two 3x3 convolutions to x [B, H, W, I] or to its projection when the shape changes."""

  features: int
  stride: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    y = ConvNorm(self.features, 3, self.stride, 1, self.lowering, name="first")(x, train, mask)
    y = jax.nn.relu(y)
    y = ConvNorm(self.features, 3, 1, 1, self.lowering, name="second")(y, train, mask)
    if self.stride != 1 or x.shape[-1] != self.features:
      x = ConvNorm(self.features, 1, self.stride, 0, self.lowering, name="shortcut")(x, train, mask)
    return jax.nn.relu(x + y)


class ResNet(nn.Module):
  """Classify x [B, H, W, C]; logits [B, num_classes]. Stages 1-4 are the blocks 1-4.

  Networks of the family say how they are called, how many residual blocks a stage has, and of which
  kind: `unit(features, stride, lowering)`.
  """

  called: ClassVar[str]
  depths: ClassVar[tuple[int, ...]]
  unit: ClassVar[type[Any]] = BasicBlock
  widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)

  num_classes: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool = False, mask: Array | None = None) -> Array:
    check_image_size(self.called, x, SIZES, "8 to 512")
    x = jax.nn.relu(ConvNorm(self.widths[0], 7, 2, 3, self.lowering, name="stem")(x, train, mask))
    x = max_pool(x, 3, 2, 1, self.lowering)
    for stage, (features, depth) in enumerate(zip(self.widths, self.depths), 1):
      for block in range(depth):
        stride = 2 if stage > 1 and block == 0 else 1
        unit = self.unit(features, stride, self.lowering, name=f"stage{stage}_{block}")
        x = unit(x, train, mask)
    return Linear(self.num_classes, name="head")(jnp.mean(x, (1, 2)))


class ResNet18(ResNet):
  """The network of the benchmark: two basic blocks a stage, 11.2 million parameters."""

  called = "resnet18"
  depths = (2, 2, 2, 2)
  in_the_reference: ClassVar[bool] = True
