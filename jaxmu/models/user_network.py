"""A network and variables that somebody gives: all of it is checked before anything is compiled."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.data.samples import FLOATS, HALVES, as_array
from jaxmu.errors import DataError, ModelError, shown
from jaxmu.models.forward import forward, mode_flags
from jaxmu.own_code import references

COLLECTIONS = ("params", "batch_stats")
Path = tuple[str, ...]


def check_module(module: Any) -> None:
  """Raise `ModelError` unless this is a linen module by which programs can be looked up."""
  if not isinstance(module, nn.Module):
    raise ModelError(f"model must be an instance of flax.linen.Module, got {shown(module)}")
  try:
    hash(module)
  except TypeError as error:
    raise ModelError(
      f"{type(module).__name__} has a list, dict or array among its attributes, so programs cannot "
      "be looked up by it; use tuples"
    ) from error


def plain_variables(variables: Any) -> dict[str, Any]:
  """Return {"params", "batch_stats"} as plain dicts of arrays, from whatever mappings they are.

  Leaves in half precision are widened to float32; `in_type_of` goes back.

  Raises:
    ModelError: other collections, leaves that are no arrays or hold NaN, parameters that are not
      float32 (or float64).
  """
  if not isinstance(variables, Mapping) or "params" not in variables:
    given = type(variables).__name__
    if isinstance(variables, Mapping):
      given = shown(sorted(map(str, variables)))
    raise ModelError(f"variables must be a mapping with 'params' (and 'batch_stats'), got {given}")
  other = sorted(str(name) for name in variables if name not in COLLECTIONS and variables[name])
  if other:
    raise ModelError(
      f"variables hold the collection '{other[0]}', which is not supported and would be lost; "
      "expected 'params' and 'batch_stats' alone"
    )
  plain = {name: _plain(variables[name], (name,)) for name in COLLECTIONS if name in variables}
  if not plain["params"]:
    raise ModelError("variables hold no parameters: variables['params'] is empty")
  return {"batch_stats": {}} | plain


def in_type_of(given: Any, plain: Any) -> Any:
  """Round the leaves of plain variables whose given counterparts are in half precision."""
  if isinstance(plain, Mapping):
    own = {str(name): child for name, child in given.items()}
    return {name: in_type_of(own[name], child) for name, child in plain.items()}
  name = str(getattr(given, "dtype", "")).removeprefix("torch.")
  return plain.astype(name) if name in HALVES else plain


def count_classes(
  module: nn.Module, variables: Mapping[str, Any], images: Any, *, train: bool = False
) -> int:
  """Ask a network, without computing anything, how many logits it gives for images [n, ...].

  Args:
    images: an array, or its shape and type.

  Raises:
    ModelError: it cannot be called on them with these variables.
  """
  x = _batch(images, 1 + train)
  call = lambda params, batch_stats, x, key: forward(
    module, params, batch_stats, x, train=train, key=key if train else None
  )
  what = f"{type(module).__name__} cannot be called on images of shape {x.shape}"
  with references.guarded(ModelError, what):
    logits, _ = jax.eval_shape(
      call, variables["params"], variables["batch_stats"], x, jax.random.key(0)
    )
  return logits.shape[-1]


def initial(module: nn.Module, images: Any, key: jax.Array) -> dict[str, Any]:
  """Draw a network's first weights, as its own `init` does in eval mode.

  Args:
    images: what it takes, [n, ...]: an array, or its shape and type.

  Raises:
    ModelError: it cannot be initialised by images alone.
  """
  x, flags = _batch(images, 1), mode_flags(module, False)
  draw = _init(module, x.shape, x.dtype, tuple(sorted(flags.items())))
  what = (
    f"{type(module).__name__} cannot be initialised with images of shape {x.shape} alone, so its "
    "first weights must be given as variables"
  )
  with references.guarded(ModelError, what):
    return draw(key)


@functools.lru_cache(maxsize=16)
def _init(
  module: nn.Module, shape: tuple[int, ...], dtype: np.dtype, flags: tuple[tuple[str, bool], ...]
) -> Callable[[jax.Array], dict[str, Any]]:
  options: dict[str, Any] = dict(flags)

  def draw(key: jax.Array) -> dict[str, Any]:
    tree = module.init({"params": key, "dropout": key}, jnp.zeros(shape, dtype), **options)
    return dict(nn.meta.unbox(tree))

  return jax.jit(draw)


def refuse_unused(module: nn.Module, variables: Mapping[str, Any], images: Any) -> None:
  """Raise `ModelError` for leaves that the network does not have: linen never looks at them."""
  given, x = set(_paths(variables)), _batch(images, 1)
  for train in (False, True):  # some networks have parameters in train mode only
    known = _initial_paths(module, x.shape, x.dtype, train) if given else frozenset()
    given -= given if known is None else known
  if given:
    more = f" (and {len(given) - 1} others)" if len(given) > 1 else ""
    raise ModelError(
      f"variables hold {'/'.join(min(given))}{more}, which {type(module).__name__} does not have; "
      "expected the variables of this network: leave out what belongs to another"
    )


def _plain(value: Any, path: Path) -> Any:
  if isinstance(value, Mapping):
    return {str(name): _plain(child, (*path, str(name))) for name, child in value.items()}
  place = "/".join(path)
  if hasattr(value, "detach") or isinstance(value, np.ma.MaskedArray):
    try:
      value = as_array(place, value)
    except DataError as error:
      raise ModelError(f"variables: {error}") from error
  if not isinstance(value, np.ndarray | np.generic | jax.Array):
    raise ModelError(f"variables: {place} is {shown(value)}; expected an array")
  if isinstance(value, jax.core.Tracer):
    raise ModelError(f"variables: {place} is traced; call this outside of jit, vmap and grad")
  if value.dtype.name in HALVES:
    value = np.asarray(value, np.float32)
  floating = jnp.issubdtype(value.dtype, jnp.floating)
  if value.dtype.name not in FLOATS and (floating or path[0] == "params"):
    raise ModelError(
      f"variables: {place} is {value.dtype.name}; expected float32: convert all of them with "
      "jax.tree.map(lambda leaf: leaf.astype('float32'), variables)"
    )
  if floating and not np.isfinite(np.asarray(value)).all():
    raise ModelError(
      f"variables: {place} holds NaN or infinity; expected the finite weights of a trained network"
    )
  return value


def _batch(images: Any, size: int) -> jax.ShapeDtypeStruct:
  dtype = jax.dtypes.canonicalize_dtype(images.dtype)
  return jax.ShapeDtypeStruct((size, *images.shape[1:]), dtype)


@functools.lru_cache(maxsize=64)
def _initial_paths(
  module: nn.Module, shape: tuple[int, ...], dtype: np.dtype, train: bool
) -> frozenset[Path] | None:
  """Name the leaves that a network makes itself; None where it cannot be initialised like this."""
  x = jax.ShapeDtypeStruct(shape, dtype)
  flags: dict[str, Any] = mode_flags(module, train)
  try:
    init = lambda key, x: module.init({"params": key, "dropout": key}, x, **flags)
    tree = jax.eval_shape(init, jax.random.key(0), x)
  except Exception:  # its own `init` may want more than images; then nothing is known
    return None
  return frozenset(_paths(nn.meta.unbox(tree)))


def _paths(tree: Any, path: Path = ()) -> Iterator[Path]:
  if isinstance(tree, Mapping):
    for name, child in tree.items():
      yield from _paths(child, (*path, str(name)))
  else:
    yield path
