"""The two parametrised layers beside batch normalisation: convolution and linear head."""

from functools import partial

import flax.linen as nn
from jax import Array

from jaxmu.models import initialisers
from jaxmu.models.conv import conv


class Conv(nn.Module):
  """Convolve x [B, H, W, I] without bias; kernel [k, k, I, features], He-normal with fan_out."""

  features: int
  size: int = 3
  stride: int = 1
  padding: int = 0
  lowering: str = "auto"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param("kernel", initialisers.he_normal_out, shape, x.dtype)
    edge = (self.padding, self.padding)
    return conv(x, kernel, (self.stride, self.stride), (edge, edge), self.lowering)


class Linear(nn.Module):
  """Map x [B, I] to [B, features]; kernel and bias start uniform in +-1/sqrt(I)."""

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    fan_in = x.shape[-1]
    draw = partial(initialisers.default_reset, fan_in=fan_in)
    kernel = self.param("kernel", draw, (fan_in, self.features), x.dtype)
    bias = self.param("bias", draw, (self.features,), x.dtype)
    return x @ kernel + bias
