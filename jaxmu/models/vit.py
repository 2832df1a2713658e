"""ViT-B/16, the vision transformer on patches of 16 pixels (Dosovitskiy et al. 2021).

It is torchvision's, layer by layer, also in how it starts; there is no dropout.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxmu.errors import ModelError
from jaxmu.kernels.conv import Choice
from jaxmu.models.attention import attend
from jaxmu.models.gelu import gelu
from jaxmu.models.image_sizes import check_image_size
from jaxmu.models.initialisers import fans, glorot_uniform, unit_normal
from jaxmu.models.layers import Conv, LayerNorm, Linear

PATCH = 16
SIZES = range(PATCH, 513, PATCH)
EPSILON = 1e-6  # of all norms
POSITION_STD = 0.02
zeros = nn.initializers.zeros


def tokens_of(side: int) -> int:
  """Return how many tokens an image of `side` x `side` pixels becomes, with the class token."""
  return 1 + (side // PATCH) ** 2


def side_of(tokens: int) -> int | None:
  """Undo `tokens_of`; None where no image becomes so many tokens."""
  return next((side for side in SIZES if tokens_of(side) == tokens), None)


class Tokens(nn.Module):
  """Cut x [B, H, W, I] into patches; return tokens [B, n, width], the class token first.

  Each has the learned embedding of its place added.
  """

  width: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    batch, width = x.shape[0], self.width
    first = self.param("class_token", zeros, (1, 1, width), x.dtype)
    start = lambda *args: unit_normal(*args) * fans(args[1])[0] ** -0.5
    cut = Conv(
      width, PATCH, PATCH, 0, self.lowering, kernel_init=start, bias_init=zeros, name="conv"
    )
    patches = cut(x).reshape(batch, -1, width)
    tokens = jnp.concatenate([jnp.broadcast_to(first, (batch, 1, width)), patches], 1)
    start = lambda *args: POSITION_STD * unit_normal(*args)
    return tokens + self.param("pos_embedding", start, (1, tokens.shape[1], width), x.dtype)


class Attention(nn.Module):
  """Attend among all tokens x [B, n, C]; no residual. Normalises its input first."""

  heads: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    batch, n, channels = x.shape
    x = LayerNorm(epsilon=EPSILON, param_dtype=x.dtype, name="norm")(x)
    qkv = Linear(3 * channels, kernel_init=glorot_uniform, bias_init=zeros, name="qkv")(x)
    by_head = lambda part: part.reshape(batch, n, self.heads, -1)
    out = attend(*map(by_head, jnp.split(qkv, 3, axis=-1)))
    return Linear(channels, bias_init=zeros, name="proj")(out)


class Mlp(nn.Module):
  """Map x [B, n, C] through a layer norm and two linear layers, `hidden` wide in between."""

  hidden: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    linear = lambda features, name: Linear(
      features,
      kernel_init=glorot_uniform,
      bias_init=lambda *args: 1e-6 * unit_normal(*args),
      name=name,
    )
    rows = x.reshape(-1, x.shape[-1])
    rows = LayerNorm(epsilon=EPSILON, param_dtype=x.dtype, name="norm")(rows)
    y = gelu(linear(self.hidden, "expand")(rows))
    return linear(x.shape[-1], "reduce")(y).reshape(x.shape)


class Block(nn.Module):
  """Add attention, then an MLP, to tokens x [B, n, C]."""

  heads: int
  hidden: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = x + Attention(self.heads, name="attention")(x)
    return x + Mlp(self.hidden, name="mlp")(x)


class VisionTransformer(nn.Module):
  """Classify x [B, H, H, C]; logits [B, num_classes]. Its layers are the blocks 1, 2, ...

  Networks of the family say how they are called and how large they are. Parameters are made for
  images of one size: there is an embedding for each place. Samples never meet, so a padded batch is
  exact without its `mask`, and both modes are one.
  """

  called: ClassVar[str]
  width: ClassVar[int]
  depth: ClassVar[int]
  heads: ClassVar[int]
  hidden: ClassVar[int]

  num_classes: int
  lowering: Choice = "auto"

  @nn.compact
  def __call__(self, x: Array, train: bool = False, mask: Array | None = None) -> Array:
    del train, mask
    check_image_size(self.called, x, SIZES, "squares of 16, 32, ..., 512 pixels")
    self._check_square(x)
    x = Tokens(self.width, self.lowering, name="stem")(x)
    for layer in range(1, self.depth + 1):
      x = Block(self.heads, self.hidden, name=f"stage{layer}")(x)
    x = LayerNorm(epsilon=EPSILON, param_dtype=x.dtype, name="norm")(x[:, 0])
    return Linear(self.num_classes, kernel_init=zeros, bias_init=zeros, name="head")(x)

  def _check_square(self, x: Array) -> None:
    """Raise `ModelError` for images of other sides than those that the parameters are for."""
    if x.ndim != 4:
      return  # the convolution says more
    height, width = x.shape[1:3]
    if height != width:
      raise ModelError(
        f"{self.called} got images of {height} x {width} pixels; expected squares: crop or pad them"
      )
    stored = self.variables.get("params", {}).get("stem", {}).get("pos_embedding")
    if stored is not None and stored.shape[1] != tokens_of(height):
      side = side_of(stored.shape[1])
      raise ModelError(
        f"{self.called} got images of {height} x {height} pixels, and these variables are for "
        f"{side} x {side}: resize the images, or build the network for theirs"
      )


class ViTB16(VisionTransformer):
  """The base size: 12 layers of 12 heads, 768 wide; 86.6 million parameters at 1,000 classes."""

  called = "vit_b_16"
  width, depth, heads, hidden = 768, 12, 12, 3072
