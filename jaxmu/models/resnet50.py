"""ResNet-50: residual blocks with a narrow middle (He et al. 2015), as torchvision has it."""

import flax.linen as nn
import jax
from jax import Array

from jaxmu.kernels.conv import Choice
from jaxmu.models.layers import ConvNorm
from jaxmu.models.resnet import ResNet

EXPANSION = 4


class Bottleneck(nn.Module):
  """Add a 1x1, a 3x3 and a 1x1 convolution to x [B, H, W, I], or to its projection; 4 F wide.

  The stride is that of the 3x3 convolution, as in torchvision; the paper has it in the first.
  """

  features: int
  stride: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    wide, how = EXPANSION * self.features, self.lowering
    y = jax.nn.relu(ConvNorm(self.features, 1, 1, 0, how, name="first")(x, train, mask))
    y = ConvNorm(self.features, 3, self.stride, 1, how, name="second")(y, train, mask)
    y = ConvNorm(wide, 1, 1, 0, how, name="third")(jax.nn.relu(y), train, mask)
    if self.stride != 1 or x.shape[-1] != wide:
      x = ConvNorm(wide, 1, self.stride, 0, how, name="shortcut")(x, train, mask)
    return jax.nn.relu(x + y)


class ResNet50(ResNet):
  """Bottleneck blocks, 3, 4, 6 and 3 a stage; 25.6 million parameters with 1,000 classes."""

  called = "resnet50"
  depths = (3, 4, 6, 3)
  unit = Bottleneck
