"""The table of networks, and how one is made and initialised."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxmu.errors import ModelError, closest, shown
from jaxmu.kernels.conv_passes import LOWERINGS
from jaxmu.models import own_network
from jaxmu.models.cnn import Cnn
from jaxmu.models.resnet import ResNet18
from jaxmu.models.resnet34 import ResNet34
from jaxmu.models.resnet50 import ResNet50
from jaxmu.models.tinyvit import TinyViT
from jaxmu.models.vit import ViTB16
from jaxmu.own_code import names
from jaxmu.settings import Settings
from jaxmu.settings.ranges import BELOW_ONE, SEED, Range, Unfit, fit

MODELS: dict[str, type[Any]] = {
  "cnn": Cnn,
  "resnet18": ResNet18,
  "resnet34": ResNet34,
  "resnet50": ResNet50,
  "tinyvit": TinyViT,
  "vit_b_16": ViTB16,
}
CLASSES = Range(2, 65_536)
NUMBERS = {  # what a number that makes a network may be; where it ends, a machine's memory does
  "num_classes": (int, CLASSES),
  "width": (int, Range(1, 4_096)),
  "drop_path": (float, BELOW_ONE),
  "image_size": (int, Range(1, 512)),
  "channels": (int, Range(1, 4_096)),
  "key": (int, SEED),
}


def make(name: str, num_classes: int, **options: Any) -> nn.Module:
  """Return the linen module called `name`; options are its fields (`width` of cnn, `lowering`).

  Raises ModelError for an unknown name or option, for fewer than two classes, and for a value that
  an option cannot have.
  """
  if not isinstance(name, str) or name not in MODELS:
    given = name if isinstance(name, str) else shown(name)
    raise ModelError(f"unknown model '{given}'; {closest(given, MODELS)}")
  fields = _fields(name) - {"num_classes", "parent", "name"}
  unknown = sorted(set(options) - fields)
  if unknown:
    raise ModelError(f"unknown option '{unknown[0]}' of {name}; {closest(unknown[0], fields)}")
  checked = {option: _option(option, value) for option, value in options.items()}
  return MODELS[name](num_classes=_number("num_classes", num_classes), **checked)


def of_settings(
  settings: Settings,
  num_classes: int,
  lowering: Any = "auto",
  image: own_network.Image | None = None,
) -> nn.Module:
  """Return the network that settings ask for (no weights).

  Args:
    lowering: how its convolutions are computed, where it has any.
    image: height, width and channels of its input, for which one of a user's own is made.
  """
  chosen = settings.model
  if reference := names.named("models", chosen.name, MODELS):
    return own_network.make(reference, num_classes, image, lowering)
  options = {"lowering": lowering} if "lowering" in _fields(chosen.name) else {}
  if chosen.name == "cnn":
    options["width"] = chosen.width
  return make(chosen.name, num_classes, **options)


def _fields(name: str) -> set[str]:
  """Name the fields of a network, without what its class says of itself."""
  return {field.name for field in dataclasses.fields(MODELS[name])}


def build(
  name: str,
  *,
  num_classes: int,
  image_size: int,
  channels: int = 3,
  key: Array | int | None = None,
  **options: Any,
) -> tuple[nn.Module, dict]:
  """Return (module, variables) of a freshly initialised network for square images.

  `channels` counts those of the network input; `key` is one or a seed, 0 by default. Variables are
  {"params", "batch_stats"} in jax's default float dtype. Raises ModelError as `make` does, and for
  images that the network is not made for.
  """
  module = make(name, num_classes, **options)
  size, channels = _number("image_size", image_size), _number("channels", channels)
  return module, jax.jit(module.init)(_key(key), jnp.zeros((1, size, size, channels)))


def _number(name: str, given: Any) -> Any:
  kind, within = NUMBERS[name]
  try:
    return fit(given, kind, within)
  except Unfit as expected:
    raise ModelError(f"{name} must be {expected}, got {shown(given)}") from None


def _option(name: str, given: Any) -> Any:
  """Return the value of a network's field, checked where this module knows what it may be."""
  if name in NUMBERS:
    return _number(name, given)
  if name == "padded" and not (isinstance(given, int | np.bool_) and given in (0, 1)):
    raise ModelError(f"padded must be True or False, got {shown(given)}")
  if name == "lowering":
    _check_lowering(given)
  return given


def _check_lowering(given: Any) -> None:
  """Accept a name for all convolutions, or pairs (convolution, name); see `kernels.conv`."""
  known = ("auto", "lax", *LOWERINGS)
  pairs = given if isinstance(given, tuple) else (("", given),)
  for pair in pairs:
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
      raise ModelError(f"lowering must be a name or pairs (convolution, name), got {shown(given)}")
    if not isinstance(pair[1], str) or pair[1] not in known:
      raise ModelError(f"unknown lowering {shown(pair[1])}; {closest(pair[1], known)}")


def _key(given: Any) -> Array:
  if given is None or isinstance(given, int | np.integer):
    return jax.random.key(_number("key", 0 if given is None else given))
  typed = hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key)
  old = not typed and getattr(given, "dtype", None) == jnp.uint32
  if getattr(given, "shape", None) != ((2,) if old else ()) or not (typed or old):
    raise ModelError(f"key must be one key, such as jax.random.key(0); got {shown(given)}")
  return given
