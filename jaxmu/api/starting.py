"""Where the models of a call start: the weights, the key and the seed of each."""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmu.api import options
from jaxmu.api.arrays import alone
from jaxmu.api.model import Model, is_nnx, read
from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.engine.population import member_keys
from jaxmu.errors import MethodError, ModelError, shown
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
  if several and not variables:
    raise ModelError("variables are an empty list; expected those of at least one model")
  if seeds is None and not several:
    keys_ = options.key(key)[None]
    return Starts(_models(model, [variables], keys_, fresh), keys_, ())
  if key is not None:
    what = "seeds=" if seeds is not None else "a list of variables"
    raise MethodError(f"key= is of one model and was given beside {what}; give seeds= alone")
  chosen = read_seeds(len(variables) if seeds is None else seeds)
  if several and len(variables) != len(chosen):
    raise MethodError(
      f"variables are of {len(variables)} models and there are {len(chosen)} seeds; expected as "
      "many, or one model for all"
    )
  keys_ = member_keys(chosen)
  given = list(variables) if several else [variables]
  return Starts(_models(model, given, keys_, fresh), keys_, chosen)


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
  model: Any, given: list[Any], keys_: jax.Array, fresh: jax.ShapeDtypeStruct | None
) -> tuple[Model, ...]:
  if given == [None] and fresh is not None and not is_nnx(model):
    user_network.check_module(model)
    own = [keys.of(key, Purpose.INITIAL_WEIGHTS) for key in keys_]
    return tuple(read(model, user_network.initial(model, fresh, key)) for key in own)
  found = tuple(_read_one(model, one, k, len(given)) for k, one in enumerate(given))
  for k, one in enumerate(found):
    _check_alike(k, one.variables, found[0].variables)
  return found


def _read_one(model: Any, given: Any, k: int, count: int) -> Model:
  if count > 1 and given is None:
    raise ModelError(
      f"variables[{k}] is None, as of a model that turned non-finite; leave it out, in all lists"
    )
  try:
    return read(model, given)
  except ModelError as error:
    if count == 1:
      raise
    raise ModelError(f"model {k} of {count}: {error}") from error


def _check_alike(k: int, one: Any, first: Any) -> None:
  describe = lambda tree: {
    jax.tree_util.keystr(path): (leaf.shape, leaf.dtype.name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  own, other = describe(one), describe(first)
  for name in sorted({*own, *other}):
    if own.get(name) != other.get(name):
      raise ModelError(
        f"variables[{k}] has at {name} {own.get(name, 'nothing')}, variables[0] "
        f"{other.get(name, 'nothing')}; expected models of one network"
      )
