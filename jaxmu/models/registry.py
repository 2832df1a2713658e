"""The table of networks, and how one is made and initialised."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxmu.errors import ModelError, closest
from jaxmu.models.cnn import Cnn
from jaxmu.models.resnet import ResNet18
from jaxmu.models.tinyvit import TinyViT

MODELS: dict[str, type[Any]] = {"cnn": Cnn, "resnet18": ResNet18, "tinyvit": TinyViT}


def make(name: str, num_classes: int, **options: Any) -> nn.Module:
  """Return the linen module called `name`; options are its fields (`width` of cnn, `lowering`).

  Raises ModelError for an unknown name or option and for fewer than two classes.
  """
  if name not in MODELS:
    raise ModelError(f"unknown model '{name}'; {closest(name, MODELS)}")
  fields = set(MODELS[name].__dataclass_fields__) - {"num_classes", "parent", "name"}
  unknown = sorted(set(options) - fields)
  if unknown:
    raise ModelError(f"unknown option '{unknown[0]}' of {name}; {closest(unknown[0], fields)}")
  if num_classes < 2:
    raise ModelError(f"num_classes must be at least 2, got {num_classes}")
  return MODELS[name](num_classes=num_classes, **options)


def build(
  name: str,
  *,
  num_classes: int,
  image_size: int,
  channels: int = 3,
  key: Array | None = None,
  **options: Any,
) -> tuple[nn.Module, dict]:
  """Return (module, variables) of a freshly initialised network for square images.

  `channels` counts those of the network input; `key` defaults to `jax.random.key(0)`. Variables are
  {"params", "batch_stats"} in jax's default float dtype.
  """
  module = make(name, num_classes, **options)
  key = jax.random.key(0) if key is None else key
  return module, jax.jit(module.init)(key, jnp.zeros((1, image_size, image_size, channels)))
