"""Networks of a user's own, by reference: made for the data, and tried on shapes alone."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmu.data.sizes import Image
from jaxmu.errors import ModelError, shown
from jaxmu.models.forward import mode_flags
from jaxmu.models.user_network import COLLECTIONS, check_module, count_classes
from jaxmu.own_code import references


def read(reference: str) -> Callable[..., Any]:
  """Return the class or function that a reference names; `ModelError` where there is none."""
  found = references.find(reference, "network", ModelError)
  if isinstance(found, nn.Module):
    raise ModelError(
      f"network {reference} is a module that is made already; expected its class, or a function of "
      "num_classes that returns one"
    )
  if not callable(found):
    raise ModelError(
      f"network {reference} is {shown(found)}; expected a class of flax.linen.Module, or a "
      "function of num_classes that returns a module"
    )
  return found


def make(reference: str, num_classes: int, image: Image | None, lowering: Any) -> nn.Module:
  """Return a network of a user's own.

  Args:
    reference: a class, or a function that returns a module. It gets those of `num_classes`,
      `image_size` (a number, or height and width), `channels` and `lowering` that it has as
      arguments.
    image: shape of the network's input, on which it is tried; None: it is not.

  Raises:
    ModelError: there is none, or it is no linen module that gives `num_classes` logits.
  """
  build, called = read(reference), f"network {reference}"
  given: dict[str, Any] = {"num_classes": num_classes, "lowering": lowering}
  if image is not None:
    height, width, channels = image
    given |= {"image_size": height if height == width else (height, width), "channels": channels}
  module = references.call(build, called, ModelError, **given)
  if not isinstance(module, nn.Module):
    raise ModelError(
      f"{called} gives {shown(module)}; expected a module of flax.linen (one of flax.nnx holds its "
      "weights, and a study draws those of every member)"
    )
  check_module(module)
  if image is not None:
    _try(module, called, num_classes, image)
  return module


@functools.lru_cache(maxsize=64)
def _try(module: nn.Module, called: str, num_classes: int, image: Image) -> None:
  """Initialise and call a network in both modes, on shapes; `ModelError` where it does not fit."""
  x = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  with references.guarded(
    ModelError, f"{called} cannot be initialised for images of shape {x.shape}"
  ):
    init = functools.partial(module.init, **mode_flags(module, False))
    shapes = jax.eval_shape(init, key, x)
  other = sorted(set(shapes) - set(COLLECTIONS))
  if other or not shapes.get("params"):
    held = f"the collection '{other[0]}'" if other else "no parameters"
    raise ModelError(f"{called} has {held}; expected 'params' and 'batch_stats' alone")
  variables = {"batch_stats": {}, **shapes}
  wrong = [leaf.dtype for leaf in jax.tree.leaves(shapes["params"]) if leaf.dtype != x.dtype]
  if wrong:
    raise ModelError(f"{called} has parameters of type {wrong[0]}; expected float32")
  for train in (False, True):
    found = count_classes(module, variables, x, train=train)
    if found != num_classes:
      raise ModelError(
        f"{called} gives {found} logits for an image; expected {num_classes}, one for each class"
      )
