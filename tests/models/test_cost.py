"""Multiply-adds counted from a network equal those counted by hand."""

import flax.linen as nn
import pytest

from jaxmu import models
from jaxmu.models import cost
from jaxmu.models.layers import Conv, Linear


class OneConv(nn.Module):
  """A 3x3 convolution of stride 2 on 4x4 pixels, and a linear layer."""

  @nn.compact
  def __call__(self, x, train=False):
    x = Conv(5, 3, 2, 1, "lax")(x)
    return Linear(7)(x.reshape(x.shape[0], -1))


def test_taps_on_padding_count_or_not():
  linear = 2 * (2 * 2 * 5) * 7
  # 2 outputs an axis; the first output's first tap is padding: 5 of 6 pairs meet a pixel.
  assert cost.forward_flops(OneConv(), 4, 3) == 2 * 6 * 6 * 3 * 5 + linear
  assert cost.live_flops(OneConv(), 4, 3) == 2 * 5 * 5 * 3 * 5 + linear
  assert cost.parameter_count(OneConv(), 4, 3) == 9 * 3 * 5 + 20 * 7 + 7


@pytest.mark.parametrize(
  ("name", "size", "channels", "millions", "live"),
  [("resnet18", 32, 3, 74.0, 43.3), ("tinyvit", 32, 3, 82.3, 81.9), ("cnn", 8, 1, 0.8, 0.4)],
)
def test_networks(name, size, channels, millions, live):
  module = models.make(name, 10)
  assert cost.forward_flops(module, size, channels) / 1e6 == pytest.approx(millions, abs=0.05)
  assert cost.live_flops(module, size, channels) / 1e6 == pytest.approx(live, abs=0.05)


@pytest.mark.parametrize(("name", "billions"), [("resnet34", 3.664), ("resnet50", 4.089)])
def test_multiply_adds_are_those_that_torchvision_states(name, billions):
  flops = cost.forward_flops(models.make(name, 1000), 224, 3)
  assert flops / 2e9 == pytest.approx(billions, abs=5e-4)
