"""ResNet-18 in its ImageNet layout, also at 32 pixels (He et al. 2015; spec data_models 4)."""

from typing import ClassVar

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


class ResNet18(nn.Module):
  """Classify x [B, H, W, C]; logits [B, num_classes]. Stages 1-4 are the blocks 1-4."""

  in_the_reference: ClassVar[bool] = True

  num_classes: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool = False, mask: Array | None = None) -> Array:
    check_image_size("resnet18", x, SIZES, "8 to 512")
    x = jax.nn.relu(ConvNorm(64, 7, 2, 3, self.lowering, name="stem")(x, train, mask))
    x = max_pool(x, 3, 2, 1, self.lowering)
    for stage, features in enumerate((64, 128, 256, 512), 1):
      for block in (0, 1):
        stride = 2 if stage > 1 and block == 0 else 1
        unit = BasicBlock(features, stride, self.lowering, name=f"stage{stage}_{block}")
        x = unit(x, train, mask)
    return Linear(self.num_classes, name="head")(jnp.mean(x, (1, 2)))
