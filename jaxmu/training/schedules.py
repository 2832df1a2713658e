"""Learning-rate schedules of methods.md 0.5, as functions of the optimizer's step count.

Every factory takes traced base values, so members of one population may differ in them. "Per epoch"
schedules are constant within an epoch of `steps` steps.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Number = jax.Array | float  # traced, or the same for all members
Schedule = Callable[[jax.Array], jax.Array]


def real(number: Number) -> jax.Array:
  """Return a count as a float of the arrays' precision: quotients of int32 would be float32."""
  return jnp.asarray(number, float)


def constant(learning_rate: Number) -> Schedule:
  """Return learning_rate at every step."""
  return lambda count: jnp.asarray(learning_rate)


def constant_rate(hp: Mapping[str, Any], steps: int) -> Schedule:
  """Keep the hyper-parameter `learning_rate`."""
  return constant(hp["learning_rate"])


def cosine_rate(hp: Mapping[str, Any], steps: int) -> Schedule:
  """Anneal the hyper-parameter `learning_rate` per epoch over `num_epochs`."""
  return cosine(hp["learning_rate"], hp["num_epochs"], steps)


def cosine(learning_rate: Number, epochs: Number, steps: int) -> Schedule:
  """Anneal per epoch: lr (1 + cos(pi e / E)) / 2, e = 0 ... E-1; never reaches 0."""
  return lambda count: _cosine(learning_rate, count // steps, epochs, 0.0)


def cosine_step(learning_rate: Number, horizon: Number, minimum: Number = 0.0) -> Schedule:
  """Anneal per step over `horizon` steps down to `minimum`."""
  return lambda count: _cosine(learning_rate, count, horizon, minimum)


def _cosine(top: Number, k: Number, horizon: Number, bottom: Number) -> jax.Array:
  return bottom + (top - bottom) * (1 + jnp.cos(jnp.pi * real(k) / real(horizon))) / 2


def triangle(learning_rate: Number, epochs: Number, steps: int) -> Schedule:
  """Rise and fall per epoch: lr (e+1)/A up to e+1 = A = floor((E+1)/2), then lr (E-e)/(E+1-A)."""

  def schedule(count: jax.Array) -> jax.Array:
    epoch, last = real(count // steps), real(epochs)
    peak = real((jnp.asarray(epochs) + 1) // 2)
    rising, falling = (epoch + 1) / peak, (last - epoch) / (last + 1 - peak)
    return learning_rate * jnp.where(epoch + 1 <= peak, rising, falling)

  return schedule


def drop(
  learning_rate: Number, epochs: Number, decay: Number, steps: int, first: int = 0
) -> Schedule:
  """Multiply by `decay` for each milestone E/2, 4E/5, 9E/10 (floors) below j = e + `first`.

  Milestones count with multiplicity, as in the reference (SCRUB: first=1; CF-k, EU-k: first=0).
  """

  def schedule(count: jax.Array) -> jax.Array:
    epochs_ = jnp.asarray(epochs)
    milestones = jnp.stack([epochs_ // 2, 4 * epochs_ // 5, 9 * epochs_ // 10])
    passed = jnp.sum(milestones < count // steps + first)
    return learning_rate * real(decay) ** real(passed)

  return schedule
