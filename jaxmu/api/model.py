"""A caller's network, of linen or nnx, and what is done with its weights before and after."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jaxmu.errors import ModelError
from jaxmu.models import user_network


class Model(NamedTuple):
  """A network and its variables as the engine takes them.

  Attributes:
    network: linen.
    given: {"params", "batch_stats"}, in the caller's types.
    variables: the same as plain dictionaries, nothing in half precision.
    wrap: makes of such variables what a caller gives and gets.
  """

  network: nn.Module
  given: Mapping[str, Any]
  variables: dict[str, Any]
  wrap: Callable[[dict[str, Any]], Any]

  def rounded(self, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain variables in the types of those given."""
    return user_network.in_type_of(self.given, variables)

  def classes(self, x: jax.ShapeDtypeStruct, *, train: bool = False) -> int:
    """Return how many classes the network tells apart, asked on shapes alone; `ModelError`.

    Args:
      x: what the network gets, [n, ...].
      train: whether it is to be trained as well.
    """
    found = user_network.count_classes(self.network, self.variables, x)
    if train:
      user_network.count_classes(self.network, self.variables, x, train=True)
    user_network.refuse_unused(self.network, self.variables, x)
    return found


def read(model: Any, variables: Any) -> Model:
  """Check a network and its variables; `ModelError` where one of them is not what it should be.

  Args:
    variables: of an nnx module an `nnx.State`, or None for its own.
  """
  if is_nnx(model):
    return _of_nnx(model, variables)
  user_network.check_module(model)
  plain = user_network.plain_variables(variables)
  wrap = lambda found: found if "batch_stats" in variables else {"params": found["params"]}
  return Model(model, {"batch_stats": {}, **variables}, plain, wrap)


def is_nnx(model: Any) -> bool:
  """Tell whether this is a module of nnx, which holds its weights."""
  nnx = sys.modules.get("flax.nnx")  # who has such a module has imported it
  return nnx is not None and isinstance(model, nnx.Module)


def _of_nnx(model: Any, variables: Any) -> Model:
  from jaxmu.models import nnx_network

  adopted = nnx_network.adopt(model, variables)
  try:
    user_network.check_module(adopted.network)
  except ModelError as error:
    raise ModelError(
      f"{type(model).__name__} has an attribute that cannot be hashed, so programs cannot be "
      "looked up by it; use tuples, or nnx.List and nnx.Dict"
    ) from error
  plain = user_network.plain_variables(adopted.variables)
  return Model(adopted.network, adopted.variables, plain, adopted.give_back)


def read_list(model: Any, variables: Sequence[Any]) -> tuple[Model, ...]:
  """Check the variables of several models of one network.

  Raises:
    ModelError: there is none, one is None, or they have different leaves.
  """
  if not variables:
    raise ModelError("variables are an empty list; expected those of at least one model")
  found: list[Model] = []
  for k, given in enumerate(variables):
    if given is None:
      raise ModelError(
        f"variables[{k}] is None, as of a model that turned non-finite; leave it out, in all lists"
      )
    try:
      found.append(read(model, given))
    except ModelError as error:
      raise ModelError(f"variables[{k}]: {error}") from error
    _check_alike(k, found[k].variables, found[0].variables)
  return tuple(found)


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
