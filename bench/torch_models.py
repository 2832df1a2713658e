"""The networks in PyTorch, from the specification (data_models.md 4), for side-by-side runs."""

import torch
from torch import nn


class Block(nn.Module):
  """Two 3x3 convolutions with a shortcut."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(outputs)
    self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(outputs)
    self.downsample = None
    if inputs != outputs:
      self.downsample = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
      )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    shortcut = x if self.downsample is None else self.downsample(x)
    x = torch.relu(self.bn1(self.conv1(x)))
    return torch.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
  """ImageNet layout: 7x7 stem of stride 2, max-pool, four stages of two blocks, linear head."""

  def __init__(self, num_classes: int = 10):
    super().__init__()
    self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    self.bn1 = nn.BatchNorm2d(64)
    self.pool = nn.MaxPool2d(3, 2, 1)
    widths = [64, 64, 128, 256, 512]
    for stage in range(1, 5):
      first = Block(widths[stage - 1], widths[stage], 1 if stage == 1 else 2)
      setattr(self, f"layer{stage}", nn.Sequential(first, Block(widths[stage], widths[stage], 1)))
    self.fc = nn.Linear(512, num_classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = self.pool(torch.relu(self.bn1(self.conv1(x))))
    for stage in range(1, 5):
      x = getattr(self, f"layer{stage}")(x)
    return self.fc(x.mean((2, 3)))


class Cnn(nn.Module):
  """jaxmu's small network: four 3x3 convolutions of widths w, w, 2w, 2w, pooled in between."""

  def __init__(self, num_classes: int = 10, channels: int = 1, size: int = 8, width: int = 32):
    super().__init__()
    layers, inputs = [], channels
    for number, outputs in enumerate((width, width, 2 * width, 2 * width)):
      if number and size >= 4:
        layers.append(nn.MaxPool2d(2))
        size //= 2
      conv = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
      layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
      inputs = outputs
    self.features = nn.Sequential(*layers)
    self.fc = nn.Linear(inputs, num_classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.fc(self.features(x).mean((2, 3)))
