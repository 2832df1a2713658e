"""Import and export of PyTorch state dicts by parameter name; torch itself makes tensors only."""

import functools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.data.samples import FLOATS, HALVES, as_array
from jaxmu.errors import DataError, ModelError
from jaxmu.models import user_network, vit
from jaxmu.models.registry import MODELS
from jaxmu.models.torch_names import Path, head_name, position_name, stem_name, torch_name

_COUNTER = "num_batches_tracked"
_ANY_SIDE = 32  # of images that all networks take whose parameters do not depend on it
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and its like, and of torch.compile


def from_torch(name: str, state_dict: Mapping[str, object] | Any) -> dict:
  """Turn a state dict of NumPy arrays or torch tensors into variables {"params", "batch_stats"}.

  Kernels O,I,h,w become h,w,I,O and linear weights are transposed; float32 and float64 are kept
  (float64 only where jax has it enabled). Class and channel counts follow the arrays;
  `num_batches_tracked` is ignored, and "batch_stats" left out where the network has none. Raises
  ModelError for missing, unexpected or wrongly shaped entries, and for those of another type or
  with NaN.

  Args:
    state_dict: also a torch module as a whole, whose `state_dict()` is taken. Names that all begin
      with `module.` or `_orig_mod.` lose it: DataParallel and torch.compile put it there.
  """
  head_name(name)  # the network's name is looked at first
  given = _unwrapped(name, state_dict)
  arrays = {key: value for key, value in given.items() if _COUNTER not in key}
  expected = _expected(name, arrays)
  _refuse_misfit(name, arrays, expected)
  variables: dict[str, Any] = {}
  for key, (path, shape) in expected.items():
    entry = _to_numpy(key, arrays[key])
    array = _from_torch_layout(path[-1], entry)
    if array.shape != shape:
      want = _to_torch_layout(path[-1], np.empty(shape, bool)).shape
      raise ModelError(f"state dict entry '{key}' has shape {entry.shape}, {name} needs {want}")
    node = variables
    for part in path[:-1]:
      node = node.setdefault(part, {})
    node[path[-1]] = jnp.asarray(array)
  return variables


def to_torch(name: str, variables: Mapping, *, tensors: bool = True) -> OrderedDict[str, Any]:
  """Turn variables into a state dict, `num_batches_tracked` written as 0.

  `torch_model.load_state_dict(to_torch(name, variables))` loads it, with all names and in their
  order. Raises ModelError where the variables are not those of the network.

  Args:
    tensors: False gives NumPy arrays, for which PyTorch need not be there.
  """
  head_name(name)
  arrays = {}
  for path, leaf in _paths(user_network.plain_variables(variables)).items():
    try:
      key = torch_name(name, path[1:])
    except (KeyError, ValueError, IndexError) as error:
      raise ModelError(f"variables hold {'/'.join(path)}, which {name} does not have") from error
    arrays[key] = np.array(_to_torch_layout(path[-1], np.asarray(leaf)), order="C")
  expected = _expected(name, arrays)
  _refuse_misfit(name, arrays, expected)
  state_dict = OrderedDict()
  for key in expected:
    state_dict[key] = arrays[key]
    if key.endswith("running_var"):
      state_dict[key.replace("running_var", _COUNTER)] = np.zeros((), np.int64)
  return OrderedDict(_as_tensors(state_dict)) if tensors else state_dict


def _as_tensors(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Any]]:
  """Wrap arrays as tensors, which share their memory."""
  try:
    import torch
  except ImportError as error:
    raise ModelError(
      "to_torch makes tensors, and PyTorch cannot be imported: install it (pip install torch), or "
      "ask for NumPy arrays with tensors=False"
    ) from error
  for name, array in arrays.items():
    yield name, torch.from_numpy(array)


def _unwrapped(name: str, given: Any) -> Mapping[str, object]:
  """Return a state dict under its network's own names; ModelError where there is none."""
  if not isinstance(given, Mapping) and callable(getattr(given, "state_dict", None)):
    given = given.state_dict()
  if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
    raise ModelError(
      f"state dict of {name} must map names to arrays, as torch_model.state_dict() does, got "
      f"{type(given).__name__}"
    )
  inner = [key for key, value in given.items() if isinstance(value, Mapping)]
  if inner:
    raise ModelError(
      f"state dict of {name} must map names to arrays, and '{inner[0]}' is a mapping itself: give "
      "the state dict alone that lies in the file"
    )
  while given and (prefix := next((w for w in _WRAPPERS if _all_begin(given, w)), "")):
    given = {key.removeprefix(prefix): value for key, value in given.items()}
  return given


def _all_begin(given: Mapping[str, object], prefix: str) -> bool:
  return all(key.startswith(prefix) for key in given)


def _expected(name: str, arrays: Mapping[str, object]) -> Mapping[str, tuple[Path, tuple]]:
  """Map each state-dict name to its path in the variables and its shape there."""
  shapes, places = {}, position_name(name)
  for key, axes in ((head_name(name), 2), (stem_name(name), 4), *([(places, 3)] if places else ())):
    if key not in arrays:
      raise ModelError(f"state dict does not fit {name}: missing {key}")
    shapes[key] = _to_numpy(key, arrays[key]).shape
    if len(shapes[key]) != axes or 0 in shapes[key]:
      raise ModelError(f"state dict entry '{key}' must have {axes} axes, got {shapes[key]}")
  head, stem, *rest = shapes.values()
  if head[0] < 2:
    raise ModelError(
      f"state dict of {name} is of one class; expected at least 2 outputs, got {head}"
    )
  side = vit.side_of(rest[0][1]) if rest else _ANY_SIDE
  if side is None:
    raise ModelError(
      f"state dict entry '{places}' has {rest[0][1]} places; expected those of a square image of "
      "at most 512 pixels: 1 + n * n, n the patches of a side"
    )
  return _names(name, head[0], stem[1], side)


@functools.lru_cache(maxsize=8)
def _names(name: str, classes: int, channels: int, side: int) -> Mapping[str, tuple[Path, tuple]]:
  """Name all entries in the order in which the network makes them, statistics behind their norm."""
  module, order = MODELS[name](num_classes=classes), list[Path]()

  def init(key: jax.Array, image: jax.Array) -> Any:
    variables = module.init(key, image)
    order.extend(_paths(variables))  # a dictionary's order is lost in what `eval_shape` returns
    return variables

  image = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
  shapes = _paths(jax.eval_shape(init, jax.random.key(0), image))
  places = {path: place for place, path in enumerate(order)}
  last = {path[1:-1]: place for path, place in places.items() if path[0] == "params"}
  place = lambda path: places[path] if path[0] == "params" else last[path[1:-1]] + 0.5
  return {
    torch_name(name, path[1:]): (path, shapes[path].shape) for path in sorted(order, key=place)
  }


def _paths(tree: Any, path: Path = ()) -> dict[Path, Any]:
  """Map the path of each leaf of nested dictionaries to the leaf, in their order."""
  if not isinstance(tree, Mapping):
    return {path: tree}
  return {k: v for name, child in tree.items() for k, v in _paths(child, (*path, name)).items()}


def _refuse_misfit(name, arrays, expected):
  missing, extra = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
  if missing or extra:
    raise ModelError(
      f"state dict does not fit {name}: missing {_some(missing)}, unexpected {_some(extra)}"
    )


def _to_numpy(key, value):
  """Return an entry as a float array; ModelError where it is none, or not finite."""
  try:
    array = as_array(f"state dict entry '{key}'", value)
  except DataError as error:
    raise ModelError(str(error)) from error
  if array.dtype.name in HALVES:
    array = array.astype(np.float32)
  if array.dtype.name not in FLOATS:
    raise ModelError(
      f"state dict entry '{key}' is {array.dtype.name}; expected float32: convert it with .float()"
    )
  if not np.isfinite(array).all():
    raise ModelError(
      f"state dict entry '{key}' holds NaN or infinity; expected the weights of a trained network"
    )
  return array


def _from_torch_layout(leaf, array):
  if leaf != "kernel":
    return array
  return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _to_torch_layout(leaf, array):
  if leaf != "kernel":
    return array
  return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _some(names):
  """List at most three names."""
  shown = ", ".join(names[:3]) or "nothing"
  return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
