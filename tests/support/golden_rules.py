"""Rebuild the golden problem with NumPy alone: weights, images and orders follow fixed rules.

The golden folder (environment variable JAXMU_GOLDEN_DIR) holds results only; its README, sections 1
and 2, defines the inputs that these functions make again, bit by bit.
"""

import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

SPLITS = {"retain": (101, 88), "forget": (102, 24), "val": (103, 32), "test": (104, 32)}


def load(case: str) -> dict[str, np.ndarray]:
  """Return the arrays of one golden file; skip the calling test where the folder is not given."""
  folder = os.environ.get("JAXMU_GOLDEN_DIR")
  if not folder:
    pytest.skip("JAXMU_GOLDEN_DIR is not set: golden results are not available")
  with np.load(Path(folder) / f"{case}.npz") as stored:
    return dict(stored)


def generator(key: str) -> np.random.Generator:
  """Return the generator that belongs to a key."""
  return np.random.default_rng(zlib.crc32(key.encode("utf-8")))


def noise(key: str, shape: tuple[int, ...]) -> np.ndarray:
  """Return the float64 standard normal array of a key."""
  return generator(key).standard_normal(shape)


def tensor(name: str, shape: tuple[int, ...], key: str | None = None) -> np.ndarray:
  """Return the float32 tensor of a state-dict name, in PyTorch's layout."""
  last = name.rsplit(".", 1)[-1]
  if last == "num_batches_tracked":
    return np.zeros(shape, np.int64)
  g = noise(key or name, shape)
  if last == "running_mean":
    value = 0.1 * g
  elif last == "running_var":
    value = np.exp(0.1 * g)
  elif last == "attention_biases":
    value = 0.5 * g
  elif len(shape) >= 2:
    value = g / np.sqrt(np.prod(shape[1:]))
  elif last == "weight":
    value = 1 + 0.1 * g
  else:
    value = 0.1 * g
  return value.astype(np.float32)


def resnet18_shapes(num_classes: int = 10) -> dict[str, tuple[int, ...]]:
  """Return the names and shapes of torchvision's ResNet-18 state dict, in its order."""
  shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
  width = 64
  for stage, features in enumerate((64, 128, 256, 512), 1):
    for block in (0, 1):
      path = f"layer{stage}.{block}"
      shapes[f"{path}.conv1.weight"] = (features, width, 3, 3)
      shapes |= _norm(f"{path}.bn1", features)
      shapes[f"{path}.conv2.weight"] = (features, features, 3, 3)
      shapes |= _norm(f"{path}.bn2", features)
      if width != features:
        shapes[f"{path}.downsample.0.weight"] = (features, width, 1, 1)
        shapes |= _norm(f"{path}.downsample.1", features)
      width = features
  return shapes | {"fc.weight": (num_classes, 512), "fc.bias": (num_classes,)}


def resnet18_weights(prefix: str = "") -> dict[str, np.ndarray]:
  """Return the state dict of the golden original model; prefix "bad/" gives the bad teacher's."""
  return {n: tensor(n, shape, prefix + n) for n, shape in resnet18_shapes().items()}


def tinyvit_shapes(num_classes: int = 10) -> dict[str, tuple[int, ...]]:
  """Return the names and shapes of TinyViT-11M's state dict, in the official code's order."""
  shapes = _conv_norm("patch_embed.seq.0", 32, 3, 3) | _conv_norm("patch_embed.seq.2", 64, 32, 3)
  widths, depths = (64, 128, 256, 448), (2, 2, 6, 2)
  for stage, (width, depth) in enumerate(zip(widths, depths)):
    for path in (f"layers.{stage}.blocks.{block}" for block in range(depth)):
      if stage == 0:
        shapes |= _bottleneck(path, width, 4 * width, width)
      else:
        shapes |= _transformer_block(path, width, window=14 if stage == 2 else 7)
    if stage < 3:
      following = widths[stage + 1]
      shapes |= _bottleneck(f"layers.{stage}.downsample", width, following, following)
  return shapes | _scale("norm_head", 448) | _linear("head", 448, num_classes)


def tinyvit_weights() -> dict[str, np.ndarray]:
  """Return the state dict of the golden original TinyViT."""
  return {n: tensor(n, shape) for n, shape in tinyvit_shapes().items()}


def images(split: str) -> tuple[np.ndarray, np.ndarray]:
  """Return (float32 images [n, 3, 32, 32], labels [n]) of retain, forget, val or test."""
  seed, n = SPLITS[split]
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 10, n)
  z = rng.standard_normal((n, 3, 32, 32))
  patterns = np.stack([pattern(c) for c in range(10)])
  return (0.6 * z + 0.6 * patterns[labels]).astype(np.float32), labels


def sha256(array: np.ndarray) -> str:
  """Return the SHA-256 of an array's little-endian bytes."""
  return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def pattern(label: int) -> np.ndarray:
  """Return the float64 pattern [3, 32, 32] that images of a class share."""
  return np.kron(noise(f"pattern/{label}", (3, 8, 8)), np.ones((1, 4, 4)))


def union_order() -> np.ndarray:
  """Return the fixed order of the passes over retain and forget, retain samples numbered first."""
  return np.random.default_rng(2024).permutation(112)


def _scale(name, features):
  return {f"{name}.weight": (features,), f"{name}.bias": (features,)}


def _norm(name, features):
  statistics = {f"{name}.running_mean": (features,), f"{name}.running_var": (features,)}
  return _scale(name, features) | statistics | {f"{name}.num_batches_tracked": ()}


def _linear(name, inputs, outputs):
  return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _conv_norm(name, outputs, inputs, size):
  return {f"{name}.c.weight": (outputs, inputs, size, size)} | _norm(f"{name}.bn", outputs)


def _bottleneck(name, inputs, hidden, outputs):
  return (
    _conv_norm(f"{name}.conv1", hidden, inputs, 1)
    | _conv_norm(f"{name}.conv2", hidden, 1, 3)
    | _conv_norm(f"{name}.conv3", outputs, hidden, 1)
  )


def _transformer_block(name, width, window):
  return (
    {f"{name}.attn.attention_biases": (width // 32, window**2)}
    | _scale(f"{name}.attn.norm", width)
    | _linear(f"{name}.attn.qkv", width, 3 * width)
    | _linear(f"{name}.attn.proj", width, width)
    | _scale(f"{name}.mlp.norm", width)
    | _linear(f"{name}.mlp.fc1", width, 4 * width)
    | _linear(f"{name}.mlp.fc2", 4 * width, width)
    | _conv_norm(f"{name}.local_conv", width, 1, 3)
  )
