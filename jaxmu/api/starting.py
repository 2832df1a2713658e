"""Where the models of a call start: the weights, the key and the seed of each."""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmu.api import options
from jaxmu.api.arrays import alone
from jaxmu.api.model import Model, is_nnx, read, read_list
from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.engine.population import member_keys
from jaxmu.errors import MethodError, shown
from jaxmu.models import user_network
from jaxmu.settings.ranges import MEMBERS, SEED, Unfit, fit


class Starts(NamedTuple):
  """The models of a call before they are trained.

  Attributes:
    models: those that they begin with, [K], or one that all of them begin with.
    keys: typed keys, [K].
    seeds: of whom they are, where several were asked for; () for the one model of a plain call.
  """

  models: tuple[Model, ...]
  keys: jax.Array
  seeds: tuple[int, ...]

  @property
  def first(self) -> Model:
    return self.models[0]

  def of(self, k: int) -> Model:
    """Return what the k-th model begins with."""
    return self.models[k % len(self.models)]

  def variables(self, members: Sequence[int]) -> Any:
    """Return the variables of some members, leaves [k, ...]."""
    if not self.seeds:  # an array on the device stays there
      return alone(self.first.variables)
    own = [self.of(k).variables for k in members]
    if len(self.models) == 1:
      alike = lambda leaf: np.broadcast_to(np.asarray(leaf), (len(own), *leaf.shape))
      return jax.tree.map(alike, own[0])
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *own)


def read_starts(
  model: Any, variables: Any, key: Any, seeds: Any, fresh: jax.ShapeDtypeStruct | None
) -> Starts:
  """Check models, key and seeds of a call.

  Args:
    variables: of one model, or a list of K of them.
    key: of one model.
    seeds: how many models, or a seed for each; None: one, or as many as there are variables.
    fresh: what the network takes, [n, ...], where it may draw its own weights; else None.

  Raises:
    MethodError: seeds that are none, beside a key, or not as many as there are models.
    ModelError: a model or variables of the wrong form, or of different forms.
  """
  several = isinstance(variables, list | tuple)
  if seeds is None and not several:
    keys_ = options.key(key)[None]
    return Starts(_models(model, variables, keys_, fresh), keys_, ())
  if key is not None:
    what = "seeds=" if seeds is not None else "a list of variables"
    raise MethodError(f"key= is of one model and was given beside {what}; give seeds= alone")
  chosen = read_seeds(len(variables) or 1 if seeds is None else seeds)
  keys_ = member_keys(chosen)
  if not several:
    return Starts(_models(model, variables, keys_, fresh), keys_, chosen)
  models = read_list(model, variables)
  if len(models) != len(chosen):
    raise MethodError(
      f"variables are of {len(models)} models and there are {len(chosen)} seeds; expected as many, "
      "or one model for all"
    )
  return Starts(models, keys_, chosen)


def read_seeds(given: Any) -> tuple[int, ...]:
  """Return the seeds that K, or a sequence of seeds, stands for: 0 to K - 1; `MethodError`."""
  wanted = "seeds must be how many models, or a seed for each"
  try:
    if isinstance(given, numbers.Integral) and not isinstance(given, bool):
      return tuple(range(fit(given, int, MEMBERS)))
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
      raise MethodError(f"{wanted}, got {shown(given)}")
    found = tuple(fit(seed, int, SEED) for seed in given)
  except Unfit as expected:
    raise MethodError(f"{wanted}, {expected}; got {shown(given)}") from None
  if not found or len(set(found)) < len(found):
    raise MethodError(f"{wanted}, all of them different; got {shown(given)}")
  return found


def _models(
  model: Any, given: Any, keys_: jax.Array, fresh: jax.ShapeDtypeStruct | None
) -> tuple[Model, ...]:
  """Return the one model that all begin with, or freshly drawn ones."""
  if given is not None or fresh is None or is_nnx(model):
    return (read(model, given),)
  user_network.check_module(model)
  own = [keys.of(key, Purpose.INITIAL_WEIGHTS) for key in keys_]
  return tuple(read(model, user_network.initial(model, fresh, key)) for key in own)
