"""The problems that benchmarks train on: the same random images and recipe for every program."""

import numpy as np

IMAGES = {"resnet18": (32, 32, 3), "tinyvit": (32, 32, 3), "cnn": (8, 8, 1)}
CLASSES = 10
MEAN, STD = 0.48, 0.2
RECIPE = {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


def images(model: str, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Return uint8 images [count, H, W, C] and int32 labels [count], from a fixed seed."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, CLASSES, count).astype(np.int32)
  return rng.integers(0, 256, (count, *IMAGES[model]), np.uint8), labels
