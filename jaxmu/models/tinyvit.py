"""TinyViT-11M for images of 32 or 224 pixels (Wu et al. 2022; spec data_models 5)."""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxmu.kernels.conv import Choice
from jaxmu.models import initialisers
from jaxmu.models.attention import INIT_STD, WindowAttention
from jaxmu.models.gelu import gelu, gelu_rows
from jaxmu.models.image_sizes import check_image_size
from jaxmu.models.layers import ConvNorm, LayerNorm, Linear

WIDTHS = (64, 128, 256, 448)
DEPTHS = (2, 2, 6, 2)
HEADS = (None, 4, 8, 14)  # stage 0 has convolutions only
WINDOWS = (None, 7, 14, 7)
EXPANSION = 4
SIZES = (32, 224)

Unit = partial(ConvNorm, kernel_init=initialisers.default_reset)


def pointwise(features: int, lowering: Choice, **options: Any) -> ConvNorm:
  """Return a 1x1 convolution with normalisation; options are fields of `ConvNorm`."""
  return Unit(features, 1, 1, 0, lowering, **options)


def depthwise(features: int, stride: int, lowering: Choice, **options: Any) -> ConvNorm:
  """Return a depthwise 3x3 convolution with normalisation; options are fields of `ConvNorm`."""
  return Unit(features, 3, stride, 1, lowering, depthwise=True, **options)


class PatchEmbedding(nn.Module):
  """Map x [B, H, W, I] to [B, H/4, W/4, 64] by two convolutions of stride 2."""

  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    x = gelu(Unit(WIDTHS[0] // 2, 3, 2, 1, self.lowering, name="first")(x, train, mask))
    return Unit(WIDTHS[0], 3, 2, 1, self.lowering, name="second")(x, train, mask)


class MBConv(nn.Module):
  """Add an inverted bottleneck with a depthwise convolution to x [B, H, W, C].

  It starts as the identity under a GELU: the last normalisation's scale is 0.
  """

  drop_path: float
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    channels, how = x.shape[-1], self.lowering
    y = gelu(pointwise(EXPANSION * channels, how, name="expand")(x, train, mask))
    y = gelu_rows(depthwise(EXPANSION * channels, 1, how, name="depthwise")(y, train, mask))
    y = pointwise(channels, how, zero_scale=True, name="reduce")(y, train, mask)
    return gelu_rows(x + DropPath(self.drop_path)(y, train))


class PatchMerging(nn.Module):
  """Halve the resolution of x [B, H, W, I] and change its width to `features`."""

  features: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    x = gelu(pointwise(self.features, self.lowering, name="expand")(x, train, mask))
    x = gelu_rows(depthwise(self.features, 2, self.lowering, name="depthwise")(x, train, mask))
    return pointwise(self.features, self.lowering, name="reduce")(x, train, mask)


class Mlp(nn.Module):
  """Map x [..., C] through a layer norm and two linear layers, 4 C wide in between."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    channels = x.shape[-1]
    rows = LayerNorm(param_dtype=x.dtype, name="norm")(x.reshape(-1, channels))
    y = gelu(Linear(EXPANSION * channels, INIT_STD, name="expand")(rows))
    return Linear(channels, INIT_STD, name="reduce")(y).reshape(x.shape)


class Block(nn.Module):
  """Attend within windows, convolve locally (not a residual), and apply an MLP: [B, H, W, C]."""

  heads: int
  window: int
  drop_path: float
  padded: bool = False
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    attend = WindowAttention(self.heads, self.window, self.padded, name="attention")
    x = x + DropPath(self.drop_path)(attend(x), train)
    x = depthwise(x.shape[-1], 1, self.lowering, name="local")(x, train, mask)
    return x + DropPath(self.drop_path)(Mlp(name="mlp")(x), train)


class DropPath(nn.Module):
  """Leave out the branch y [B, ...] of a sample with probability `rate`, in train mode.

  Kept branches are divided by the probability of keeping them. Draws from the stream "dropout".
  """

  rate: float

  def __call__(self, y: Array, train: bool) -> Array:
    if not train or not self.rate:
      return y
    keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, (y.shape[0],))
    return jnp.where(keep.reshape(-1, *[1] * (y.ndim - 1)), y / (1 - self.rate), 0)


class TinyViT(nn.Module):
  """Classify x [B, H, W, C]; logits [B, num_classes]. Stages 1-3 are the blocks 1-3.

  `drop_path` is the last block's rate of stochastic depth: rates rise linearly from 0. `padded`
  computes attention on padded windows, as published; the result is the same.
  """

  in_the_reference: ClassVar[bool] = True
  stem_is_a_layer: ClassVar[bool] = False  # but a part of the patch embedding

  num_classes: int
  drop_path: float = 0.1
  padded: bool = False
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool = False, mask: Array | None = None) -> Array:
    check_image_size("tinyvit", x, SIZES, "32 or 224")
    x = PatchEmbedding(self.lowering, name="stem")(x, train, mask)
    rates = iter(self.drop_path * i / (sum(DEPTHS) - 1) for i in range(sum(DEPTHS)))
    for stage, depth in enumerate(DEPTHS):
      for i in range(depth):
        name, rate = f"stage{stage}_{i}", next(rates)
        heads, window = HEADS[stage], WINDOWS[stage]
        unit: MBConv | Block
        if heads is None or window is None:
          unit = MBConv(rate, self.lowering, name=name)
        else:
          unit = Block(heads, window, rate, self.padded, self.lowering, name=name)
        x = unit(x, train, mask)
      if stage + 1 < len(WIDTHS):
        merge = PatchMerging(WIDTHS[stage + 1], self.lowering, name=f"stage{stage}_merge")
        x = merge(x, train, mask)
    x = LayerNorm(param_dtype=x.dtype, name="norm")(jnp.mean(x, (1, 2)))
    return Linear(self.num_classes, INIT_STD, name="head")(x)
