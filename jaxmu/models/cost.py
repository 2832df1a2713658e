"""Multiply-adds of a network, counted from its jaxpr: nothing is compiled, no device is started."""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmu.models.forward import mode_flags

Size = int | tuple[int, int]  # of an image: both sides, or height and width


def forward_flops(module: nn.Module, image_size: Size, channels: int) -> int:
  """Return FLOPs (multiply-add = 2) of one image's forward pass, convolutions and products only."""
  return _count(_traced(module, image_size, channels), live=False)


def live_flops(module: nn.Module, image_size: Size, channels: int) -> int:
  """Return `forward_flops` without the kernel taps that fall on padding."""
  return _count(_traced(module, image_size, channels), live=True)


def network_cost(module: nn.Module, image_size: Size, channels: int) -> tuple[int, int]:
  """Return `forward_flops` and `parameter_count` at the price of one of them."""
  module = _plain(module)
  shapes = _shapes(module, image_size, channels)
  jaxpr = _forward_jaxpr(module, shapes, image_size, channels)
  return _count(jaxpr, live=False), _parameters(shapes)


def parameter_count(module: nn.Module, image_size: Size, channels: int) -> int:
  """Return the number of trainable parameters."""
  return _parameters(_shapes(_plain(module), image_size, channels))


def _parameters(shapes):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))


def _plain(module):
  return module.clone(lowering="lax") if hasattr(module, "lowering") else module


def _image(image_size, channels):
  sides = image_size if isinstance(image_size, tuple) else (image_size, image_size)
  return jax.ShapeDtypeStruct((1, *sides, channels), jnp.float32)


def _shapes(module, image_size, channels):
  key = jax.eval_shape(lambda: jax.random.key(0))
  init = functools.partial(module.init, **mode_flags(module, False))
  return jax.eval_shape(init, key, _image(image_size, channels))


def _traced(module, image_size, channels):
  module = _plain(module)
  return _forward_jaxpr(module, _shapes(module, image_size, channels), image_size, channels)


def _forward_jaxpr(module, variables, image_size, channels):
  flags = mode_flags(module, False)
  apply = lambda variables, image: module.apply(variables, image, **flags)
  return jax.make_jaxpr(apply)(variables, _image(image_size, channels)).jaxpr


def _count(jaxpr: Any, live: bool) -> int:
  total = 0
  for equation in jaxpr.eqns:
    out = equation.outvars[0].aval
    if equation.primitive.name == "conv_general_dilated":
      image, kernel = (variable.aval.shape for variable in equation.invars)
      pairs = out.shape[0] * kernel[2] * kernel[3]  # kernel [h, w, I/g, O]
      for axis in (0, 1):
        pairs *= _meetings(equation.params, axis, image[1 + axis], kernel[axis], out, live)
      total += 2 * pairs
    elif equation.primitive.name == "dot_general":
      contracted = equation.params["dimension_numbers"][0][0]
      depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
      total += 2 * depth * math.prod(out.shape)
    for inner in _inner(equation.params.values()):
      total += _count(inner, live)
  return total


def _meetings(
  params: Mapping[str, Any], axis: int, pixels: int, taps: int, out: Any, live: bool
) -> int:
  """Count pairs of an output and a tap along one axis; with `live`, those that meet a pixel."""
  outputs = out.shape[1 + axis]
  if not live:
    return outputs * taps
  stride, (low, _) = params["window_strides"][axis], params["padding"][axis]
  places = (o * stride + tap - low for o in range(outputs) for tap in range(taps))
  return sum(0 <= place < pixels for place in places)


def _inner(values: Iterable[Any]) -> Iterator[Any]:
  """Yield the jaxprs among an equation's parameters, closed ones opened."""
  for value in values:
    if isinstance(value, tuple | list):
      yield from _inner(value)
    elif hasattr(value, "eqns"):
      yield value
    elif hasattr(value, "jaxpr"):
      yield value.jaxpr
