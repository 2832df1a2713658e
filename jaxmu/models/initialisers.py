"""Random values for kernels and biases: the initialisers that networks and methods refer to.

Kernels are [h, w, I/g, O] or [I, O]; fans are computed on the kernel itself and not divided by
groups. Source: spec methods 0.7, data_models 4.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


def fans(shape: Sequence[int]) -> tuple[int, int]:
  """Return (fan_in, fan_out) of a kernel [h, w, I/g, O] or [I, O]."""
  taps = math.prod(shape[:-2])
  return taps * shape[-2], taps * shape[-1]


def he_normal_out(key: Array, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
  """Draw N(0, 2/fan_out), untruncated."""
  return unit_normal(key, shape, dtype) * math.sqrt(2 / fans(shape)[1])


def he_uniform_out(key: Array, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
  """Draw U[-b, b] with b = sqrt(6/fan_out)."""
  return symmetric_uniform(key, shape, math.sqrt(6 / fans(shape)[1]), dtype)


def glorot_uniform(key: Array, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
  """Draw U[-b, b] with b = sqrt(6/(fan_in + fan_out))."""
  return symmetric_uniform(key, shape, math.sqrt(6 / sum(fans(shape))), dtype)


def default_reset(
  key: Array, shape: Sequence[int], dtype: DTypeLike | None = None, fan_in: int = 0
) -> Array:
  """Draw U[-b, b] with b = 1/sqrt(fan_in); a bias [O] needs the `fan_in` of its kernel."""
  return symmetric_uniform(key, shape, 1 / math.sqrt(fan_in or fans(shape)[0]), dtype)


def symmetric_uniform(
  key: Array, shape: Sequence[int], bound: float, dtype: DTypeLike | None = None
) -> Array:
  """Draw U[-bound, bound]."""
  dtype = dtype or jnp.result_type(float)
  flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
  return flat.reshape(shape)


def unit_normal(key: Array, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
  """Draw N(0, 1).

  Drawn flat, here and above: the numbers are the same, but XLA's CPU backend compiles a draw of
  several axes five times as long (jax 0.10).
  """
  dtype = dtype or jnp.result_type(float)
  return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)
