"""From what a caller gives for each member to the arrays that a population's programs read."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.errors import MethodError
from jaxmu.execution import programs
from jaxmu.training.epoch import NO_LIMIT


def static_values(method, hp, fidelity):
  """Split off what all members must share, the fidelity included."""
  static = {"fidelity": method.resolve_fidelity(fidelity)}
  for name in sorted(method.static):
    values = {member[name] for member in hp}
    if len(values) != 1:
      raise MethodError(
        f"{method.name}: members of one population must share {name}, got {sorted(values)}; "
        "run one population per value"
      )
    (value,) = values
    static[name] = value if isinstance(value, bool | str) else int(value)
  return static


def check(method, problem, static, draws):
  missing = sorted(method.needs - set(problem.index))
  if missing:
    raise MethodError(f"{method.name} needs the {missing[0]} set, which was not given")
  unknown = sorted(set(draws) - set(method.draws))
  if unknown:
    known = ", ".join(method.draws) or "none"
    raise MethodError(f"{method.name} has no random draw '{unknown[0]}'; known: {known}")
  for name, size in problem.sizes.items():
    if name in method.needs and size < 1:
      raise MethodError(f"the {name} set is empty")


def stack(method, problem, static, hp, keys, order_keys, draws):
  """Stack what differs between members: leaves [K, ...], not laid out over devices yet."""
  traced = [name for name in hp[0] if name not in static]
  return programs.Member(
    key=np.asarray(jax.random.key_data(keys)),
    order_key=np.asarray(jax.random.key_data(keys if order_keys is None else order_keys)),
    index={name: np.asarray(problem.index[name], np.int32) for name in sorted(method.needs)},
    hp={name: _stack([h[name] for h in hp], method.defaults.get(name)) for name in traced},
    draws=dict(draws),
    until=np.full(len(hp), NO_LIMIT, np.int32),
  )


def _stack(values, default):
  """Stack one hyper-parameter of all members; a shorter list repeats its last entry."""
  whole = isinstance(values[0] if default is None else default, int)
  dtype = np.int32 if whole else np.dtype(jnp.result_type(float))
  if isinstance(values[0], tuple):
    longest = max(map(len, values))
    values = [value + value[-1:] * (longest - len(value)) for value in values]
  return np.asarray(values, dtype)
