"""Multiply-adds of a network, counted from its jaxpr: nothing is compiled, no device is started."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


def forward_flops(module: nn.Module, image_size: int, channels: int) -> int:
  """Return FLOPs (multiply-add = 2) of one image's forward pass, convolutions and products only."""
  plain = module.clone(lowering="lax") if hasattr(module, "lowering") else module
  image = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  variables = jax.eval_shape(plain.init, key, image)
  apply = lambda variables, image: plain.apply(variables, image, train=False)
  return _count(jax.make_jaxpr(apply)(variables, image).jaxpr)


def parameter_count(module: nn.Module, image_size: int, channels: int) -> int:
  """Return the number of trainable parameters."""
  plain = module.clone(lowering="lax") if hasattr(module, "lowering") else module
  image = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
  variables = jax.eval_shape(plain.init, jax.eval_shape(lambda: jax.random.key(0)), image)
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def _count(jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    out = equation.outvars[0].aval
    if equation.primitive.name == "conv_general_dilated":
      taps = math.prod(equation.invars[1].aval.shape[:-1])  # [h, w, I/g, O]
      total += 2 * taps * math.prod(out.shape)
    elif equation.primitive.name == "dot_general":
      contracted = equation.params["dimension_numbers"][0][0]
      depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
      total += 2 * depth * math.prod(out.shape)
    for inner in _inner(equation.params.values()):
      total += _count(inner)
  return total


def _inner(values):
  """Yield the jaxprs among an equation's parameters, closed ones opened."""
  for value in values:
    if isinstance(value, tuple | list):
      yield from _inner(value)
    elif hasattr(value, "eqns"):
      yield value
    elif hasattr(value, "jaxpr"):
      yield value.jaxpr
