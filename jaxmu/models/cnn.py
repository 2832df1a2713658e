"""A small convolutional network for images of 8 to 32 pixels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxmu.kernels.conv import Choice
from jaxmu.kernels.pool import max_pool
from jaxmu.models.image_sizes import check_image_size
from jaxmu.models.layers import Conv, Linear
from jaxmu.models.norm import BatchNorm

SIZES = range(8, 33)


class Unit(nn.Module):
  """Apply 3x3 convolution, batch normalisation and ReLU to x [B, H, W, I]."""

  features: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    x = Conv(self.features, 3, 1, 1, self.lowering, name="conv")(x)
    return jax.nn.relu(BatchNorm(name="norm")(x, train=train, mask=mask))


class Cnn(nn.Module):
  """Classify x [B, H, W, C] by four convolutions and a linear head; logits [B, num_classes].

  Stem of width `width`, then three blocks (ids 1-3) of widths w, 2w, 2w; a 2x2 max-pool between
  blocks while the map has at least four pixels a side; global average pool.
  """

  num_classes: int
  width: int = 32
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool = False, mask: Array | None = None) -> Array:
    check_image_size("cnn", x, SIZES, "8 to 32")
    x = Unit(self.width, self.lowering, name="stem")(x, train, mask)
    for number, features in enumerate((self.width, 2 * self.width, 2 * self.width), 1):
      if min(x.shape[1:3]) >= 4:
        x = max_pool(x, 2, 2, 0, self.lowering)
      x = Unit(features, self.lowering, name=f"stage{number}")(x, train, mask)
    return Linear(self.num_classes, name="head")(jnp.mean(x, (1, 2)))
