"""A module of flax's other interface, nnx, as a network that everything here can call.

An nnx module holds its weights and its mode. Taken apart it is a static graph for each mode, and
arrays at paths; those of `nnx.Param` and `nnx.BatchStat` are the collections of a linen network.
Paths keep their names, so leaves have the roles that they would have there.
"""

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from jaxmu.errors import ModelError, shown
from jaxmu.models.forward import mode_flags

COLLECTIONS = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
Place = tuple[Any, ...]  # of names, and of numbers in lists


class Layout(NamedTuple):
  """Where the arrays of an nnx module lie; hashable.

  Attributes:
    leaves: (collection, path) of each weight and statistic.
    streams: (path, shape, whether a count) of each part of a random stream.
  """

  leaves: tuple[tuple[str, Place], ...]
  streams: tuple[tuple[Place, tuple[int, ...], bool], ...]


class NnxNetwork(nn.Module):
  """A linen module that calls an nnx module, as the engine calls networks: by `apply`.

  Attributes:
    training, evaluating: its graphs in both modes.
    layout: of its arrays.
  """

  training: Any
  evaluating: Any
  layout: Layout
  has_linen_layers: ClassVar[bool] = False

  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Refuse: only `init` comes here, and only a constructor draws the weights of an nnx module."""
    del x, train
    raise ModelError(
      f"{type(self).__name__} is an nnx module, which draws new weights in its constructor alone; "
      "expected them to be given"
    )

  def apply(  # type: ignore[override]
    self,
    variables: Mapping[str, Any],
    x: jax.Array,
    *,
    mutable: Any = False,
    rngs: Mapping[str, jax.Array] | None = None,
    train: bool = False,
  ) -> Any:
    """Call the network as linen's `apply`: logits, and with `mutable` new statistics besides.

    All random streams follow the key of `rngs["dropout"]`; without one they stand still.
    """
    key = jax.random.key(0) if rngs is None else rngs["dropout"]
    flat = [(path, _leaf(variables[name], path)) for name, path in self.layout.leaves]
    flat += [
      (path, jnp.zeros(shape, jnp.uint32) if is_count else _keys(key, number, shape))
      for number, (path, shape, is_count) in enumerate(self.layout.streams)
    ]
    model = nnx.merge(self.training if train else self.evaluating, nnx.from_flat_state(flat))
    options: dict[str, Any] = mode_flags(model, train)
    if "rngs" in inspect.signature(type(model).__call__).parameters:
      options["rngs"] = nnx.Rngs(key)
    logits = model(x, **options)
    if not mutable:
      return logits
    moved = {path: _value(leaf) for path, leaf in nnx.to_flat_state(nnx.state(model))}
    kept = [place for name, place in self.layout.leaves if name == "batch_stats"]
    return logits, {"batch_stats": _nested((place, moved[place]) for place in kept)}


class Adopted(NamedTuple):
  """An nnx module as a network and its variables, and the state that they came from.

  Attributes:
    state: (path, leaf) of the given state, what `give_back` returns.
  """

  network: NnxNetwork
  variables: dict[str, Any]
  state: tuple[tuple[Place, Any], ...]

  def give_back(self, variables: Mapping[str, Any]) -> nnx.State:
    """Return the given state with other weights and statistics, all else as it came."""
    collection = {path: name for name, path in self.network.layout.leaves}

    def leaf(path: Place, old: Any) -> Any:
      known = path in collection
      value = _leaf(variables[collection[path]], path) if known else _value(old)
      return old.replace(value) if isinstance(old, nnx.Variable) else value

    return nnx.from_flat_state([(path, leaf(path, old)) for path, old in self.state])


def adopt(model: nnx.Module, given: Any = None) -> Adopted:
  """Take an nnx module apart; it is not modified.

  Args:
    given: an `nnx.State` of the module, of all or some of its variables; None: its own.

  Raises:
    ModelError: the state is none or of another module, or holds variables of other kinds than
      parameters, batch statistics and random streams.
  """
  name = type(model).__name__
  graph, own = nnx.split(model)
  flat = dict(nnx.to_flat_state(own))
  linen = isinstance(given, Mapping) and "params" in given and not hasattr(model, "params")
  if given is not None and (linen or not isinstance(given, Mapping)):  # a State will be a dict
    raise ModelError(
      f"variables of {name}, an nnx module, must be its nnx.State, or left out; got {shown(given)}"
    )
  state: Any = given
  chosen = flat if given is None else dict(nnx.to_flat_state(state))
  for path in chosen:
    if path not in flat:
      raise ModelError(f"variables hold {_spelled(path)}, which {name} does not have")
  leaves, streams = [], []
  for path, variable in flat.items():
    kind = next((kind for kind, of in COLLECTIONS.items() if isinstance(variable, of)), None)
    if kind is not None:
      leaves.append((kind, path))
    elif isinstance(variable, nnx.RngState):
      streams.append((path, _value(variable).shape, isinstance(variable, nnx.RngCount)))
    else:
      raise ModelError(
        f"{name} holds {_spelled(path)}, a {type(variable).__name__}, which is not supported and "
        "would be lost; expected nnx.Param and nnx.BatchStat alone"
      )
  graphs = []
  for mode in ("train", "eval"):
    copy = nnx.merge(graph, own)
    getattr(copy, mode)()
    graphs.append(nnx.split(copy)[0])
  layout = Layout(tuple(leaves), tuple(streams))
  network = _class_for(type(model))(training=graphs[0], evaluating=graphs[1], layout=layout)
  values = {**flat, **chosen}
  variables = {
    each: _nested((path, _value(values[path])) for of, path in leaves if of == each)
    for each in COLLECTIONS
  }
  return Adopted(network, variables, tuple(chosen.items()))


@functools.lru_cache(maxsize=64)
def _class_for(given: type) -> type[NnxNetwork]:
  """Name a class of networks as the user's, for messages."""
  return type(given.__name__, (NnxNetwork,), {"__module__": __name__})


def _value(leaf: Any) -> Any:
  if not isinstance(leaf, nnx.Variable):
    return leaf
  return leaf.get_value() if hasattr(leaf, "get_value") else leaf.value  # before flax 0.12


def _keys(key: jax.Array, number: int, shape: tuple[int, ...]) -> jax.Array:
  own = jax.random.fold_in(key, number)
  return jax.random.split(own, shape) if shape else own


def _leaf(tree: Mapping[str, Any], path: Place) -> Any:
  return functools.reduce(lambda node, name: node[str(name)], path, tree)


def _nested(pairs: Iterator[tuple[Place, Any]]) -> dict[str, Any]:
  """Make nested dictionaries of (path, value); linen's names are texts."""
  found: dict[str, Any] = {}
  for path, value in pairs:
    node = found
    for name in path[:-1]:
      node = node.setdefault(str(name), {})
    node[str(path[-1])] = value
  return found


def _spelled(path: Place) -> str:
  return "/".join(map(str, path))
