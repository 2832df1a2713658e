"""A problem on which a small network memorises: noisy classes, few samples, many epochs."""

import flax.linen as nn
import numpy as np

TRAINING = {"num_epochs": 40, "batch_size": 60, "learning_rate": 0.1, "weight_decay": 0.0}
ENDS = {"retain": (0, 120), "forget": (120, 240), "unseen": (240, 400), "validation": (400, 520)}
CLASSES = 4


class Mlp(nn.Module):
  """Two dense layers."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(CLASSES)(nn.relu(nn.Dense(64)(x)))


def sets(seed=0):
  """Return pairs (x [n, 20], y) by set."""
  rng = np.random.default_rng(seed)
  y = rng.integers(0, CLASSES, 520)
  x = 0.5 * rng.normal(size=(CLASSES, 20))[y] + rng.normal(size=(520, 20))
  return {name: (x[slice(*ends)].astype("f"), y[slice(*ends)]) for name, ends in ENDS.items()}
