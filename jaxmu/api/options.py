"""Which method, and what it is given beside a model and samples: keys, draws, switches."""

import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.data.samples import as_array
from jaxmu.errors import DataError, MethodError, shown
from jaxmu.settings.ranges import SEED, Unfit, fit
from jaxmu.training.method import Method
from jaxmu.unlearning import describe, every, get
from jaxmu.unlearning.own_method import checked


def methods() -> dict[str, dict[str, Any]]:
  """Return name -> title, summary, paper, needs, hyperparameters, fidelity, oddities and draws."""
  return {name: describe(get(name)) for name in every()}


def method(name: Any) -> Method:
  """Return the method, or training itself, called `name`; `MethodError` for what is no name.

  Args:
    name: also MODULE:NAME of a method of one's own, or the value itself.
  """
  if isinstance(name, Method):
    return checked(name, f"method {shown(name.name)}")
  if not isinstance(name, str):
    raise MethodError(f"method must be a name of jaxmu.methods(), got {shown(name)}")
  return get(name)


def key(given: Any) -> jax.Array:
  """Return one typed threefry key from a key, a seed, or None for 0; `MethodError` for others."""
  if given is None or (isinstance(given, numbers.Integral) and not isinstance(given, bool)):
    try:
      return jax.random.key(fit(0 if given is None else given, int, SEED))
    except Unfit as expected:
      raise MethodError(f"key must be {expected} where it is a seed, got {given}") from None
  data = given
  if isinstance(data, jax.Array) and jnp.issubdtype(data.dtype, jax.dtypes.prng_key):
    data = jax.random.key_data(data)  # else an old-style key, [2] already
  if getattr(data, "shape", None) != (2,) or data.dtype != jnp.uint32:
    raise MethodError(
      f"key must be a seed or one threefry key, such as jax.random.key(0); got {shown(given)}"
    )
  return jax.random.wrap_key_data(data)


def draws(randomness: Any) -> dict[str, Any]:
  """Return the replacements of random draws as arrays with a leading axis of one member."""
  if not isinstance(randomness, Mapping | None):
    raise MethodError(f"randomness must map draws to arrays, got {shown(randomness)}")

  def read(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
      return {key: read(f"{name}/{key}", child) for key, child in value.items()}
    array = as_array(f"randomness: {name}", value)
    if array.dtype.kind not in "iufV":  # V: bfloat16 and its like
      raise MethodError(f"randomness: {name} must hold numbers, got {shown(array)}")
    return jnp.asarray(array)[None]

  try:
    return {name: read(name, value) for name, value in (randomness or {}).items()}
  except DataError as error:
    raise MethodError(str(error)) from error


def check(fidelity: Any, **switches: Any) -> None:
  """Raise `MethodError` unless switches are truth values and `fidelity` is a text or None."""
  for name, given in switches.items():
    if not isinstance(given, bool | np.bool_):
      raise MethodError(f"{name} must be True or False, got {shown(given)}")
  if not isinstance(fidelity, str | None):
    raise MethodError(f"fidelity must be default, reference or fixed, got {shown(fidelity)}")
