"""TinyViT-11M in PyTorch, from the specification (data_models.md 5), for side-by-side runs.

`short_cut=False` pads every map to whole windows as published; True uses the exact identity of
data_models.md 5.2 that jaxmu uses, so that what is compared is the engine and not the identity.
"""

import torch
from torch import nn
from torch.nn import functional as F

WIDTHS, DEPTHS = (64, 128, 256, 448), (2, 2, 6, 2)
HEADS, WINDOWS = (2, 4, 8, 14), (7, 7, 14, 7)


def conv_norm(inputs, outputs, size, stride=1, groups=1):
  return nn.Sequential(
    nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
    nn.BatchNorm2d(outputs),
  )


class DropPath(nn.Module):
  """Leave a sample's branch out with probability `rate`."""

  def __init__(self, rate: float):
    super().__init__()
    self.rate = rate

  def forward(self, y):
    if not self.training or not self.rate:
      return y
    shape = (y.shape[0], *[1] * (y.dim() - 1))
    return y * (torch.rand(shape) >= self.rate).float() / (1 - self.rate)


class MBConv(nn.Module):
  """Inverted bottleneck with a depthwise convolution."""

  def __init__(self, width, rate):
    super().__init__()
    self.expand = conv_norm(width, 4 * width, 1)
    self.depthwise = conv_norm(4 * width, 4 * width, 3, groups=4 * width)
    self.reduce = conv_norm(4 * width, width, 1)
    self.drop = DropPath(rate)

  def forward(self, x):
    y = F.gelu(self.depthwise(F.gelu(self.expand(x))))
    return F.gelu(x + self.drop(self.reduce(y)))


class Merge(nn.Sequential):
  """Halve the resolution."""

  def __init__(self, inputs, outputs):
    expand, depthwise = conv_norm(inputs, outputs, 1), conv_norm(outputs, outputs, 3, 2, outputs)
    super().__init__(expand, nn.GELU(), depthwise, nn.GELU(), conv_norm(outputs, outputs, 1))


def offsets(queries, keys, window):
  """Index the bias table by absolute offsets; positions are [n, 2]."""
  delta = (queries[:, None] - keys[None]).abs()
  return delta[..., 0] * window + delta[..., 1]


class Attention(nn.Module):
  """Window attention on tokens [B, H W, C] of a map of `size` x `size`."""

  def __init__(self, width, heads, window, size, short_cut):
    super().__init__()
    self.heads, self.window, self.size = heads, window, size
    self.short_cut = short_cut and size < window
    self.norm = nn.LayerNorm(width)
    self.qkv = nn.Linear(width, 3 * width)
    self.proj = nn.Linear(width, width)
    self.table = nn.Parameter(torch.zeros(heads, window**2))
    full = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    real = (full < size).all(1)
    if self.short_cut:
      self.register_buffer("index", offsets(full[real], full[real], window))
      self.register_buffer("padding", offsets(full[real], full[~real], window))
    else:
      self.register_buffer("index", offsets(full, full, window))

  def project(self, tokens):
    groups, n, _ = tokens.shape
    parts = self.qkv(self.norm(tokens)).view(groups, n, self.heads, -1)
    return (part.transpose(1, 2) for part in parts.split(32, -1))

  def forward(self, x):
    batch, n, width = x.shape
    if self.short_cut:
      q, k, v = self.project(x)
      _, k0, v0 = self.project(x.new_zeros(1, 1, width))
      k = torch.cat([k, k0.expand(batch, -1, -1, -1)], 2)
      v = torch.cat([v, v0.expand(batch, -1, -1, -1)], 2)
      rest = torch.logsumexp(self.table[:, self.padding], -1, keepdim=True)
      bias = torch.cat([self.table[:, self.index], rest], -1)
      out = F.scaled_dot_product_attention(q, k, v, bias.expand(batch, -1, -1, -1))
      return self.proj(out.transpose(1, 2).reshape(batch, n, width))
    w, size = self.window, self.size
    pad = -size % w
    x = F.pad(x.view(batch, size, size, width), (0, 0, 0, pad, 0, pad))
    side = (size + pad) // w
    x = x.view(batch, side, w, side, w, width).transpose(2, 3).reshape(-1, w * w, width)
    q, k, v = self.project(x)
    bias = self.table[:, self.index]
    out = F.scaled_dot_product_attention(q, k, v, bias.expand(len(x), -1, -1, -1))
    out = self.proj(out.transpose(1, 2).reshape(-1, w * w, width))
    out = out.view(batch, side, side, w, w, width).transpose(2, 3)
    out = out.reshape(batch, side * w, side * w, width)[:, :size, :size]
    return out.reshape(batch, n, width)


class Block(nn.Module):
  """Attention, local convolution, MLP."""

  def __init__(self, width, heads, window, size, rate, short_cut):
    super().__init__()
    self.size = size
    self.attention = Attention(width, heads, window, size, short_cut)
    self.local = conv_norm(width, width, 3, groups=width)
    self.mlp = nn.Sequential(
      nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
    )
    self.drop = DropPath(rate)

  def forward(self, x):
    batch, width = x.shape[0], x.shape[1]
    tokens = x.flatten(2).transpose(1, 2)
    tokens = tokens + self.drop(self.attention(tokens))
    x = self.local(tokens.transpose(1, 2).reshape(batch, width, self.size, self.size))
    tokens = x.flatten(2).transpose(1, 2)
    tokens = tokens + self.drop(self.mlp(tokens))
    return tokens.transpose(1, 2).reshape(batch, width, self.size, self.size)


class TinyViT(nn.Module):
  """Logits [B, num_classes] of images [B, 3, size, size]."""

  def __init__(self, num_classes=10, size=32, short_cut=False, drop_path=0.1):
    super().__init__()
    rates = iter(drop_path * i / 11 for i in range(12))
    layers = [conv_norm(3, 32, 3, 2), nn.GELU(), conv_norm(32, 64, 3, 2)]
    size //= 4
    for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS)):
      for _ in range(depth):
        if stage == 0:
          layers.append(MBConv(width, next(rates)))
        else:
          window = WINDOWS[stage]
          layers.append(Block(width, HEADS[stage], window, size, next(rates), short_cut))
      if stage < 3:
        layers.append(Merge(width, WIDTHS[stage + 1]))
        size = -(-size // 2)
    self.features = nn.Sequential(*layers)
    self.norm = nn.LayerNorm(WIDTHS[-1])
    self.head = nn.Linear(WIDTHS[-1], num_classes)

  def forward(self, x):
    return self.head(self.norm(self.features(x).mean((2, 3))))
