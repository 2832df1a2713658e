"""Import and export of PyTorch state dicts by parameter name, without importing torch."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.data.samples import FLOATS, HALVES, as_array
from jaxmu.errors import DataError, ModelError, closest, shown
from jaxmu.models import user_network
from jaxmu.models.registry import MODELS

Path = tuple[str, ...]

_COUNTER = "num_batches_tracked"
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"} | {
  "mean": "running_mean",
  "var": "running_var",
}


def _resnet18_module(path: Path) -> str:
  """Translate a module path to torchvision's: stage2_0/first/norm -> layer2.0.bn1."""
  if path[0] == "head":
    return "fc"
  part = {"conv": "conv1", "norm": "bn1"}
  if path[0] == "stem":
    return part[path[1]]
  if path[1] == "second":
    part = {"conv": "conv2", "norm": "bn2"}
  elif path[1] == "shortcut":
    part = {"conv": "downsample.0", "norm": "downsample.1"}
  stage, block = path[0].removeprefix("stage").split("_")
  return f"layer{stage}.{block}.{part[path[2]]}"


def _tinyvit_module(path: Path) -> str:
  """Translate a module path to TinyViT's: stage1_0/mlp/expand -> layers.1.blocks.0.mlp.fc1."""
  pair = {"conv": "c", "norm": "bn"}
  if path[0] in ("head", "norm"):
    return {"head": "head", "norm": "norm_head"}[path[0]]
  if path[0] == "stem":
    return f"patch_embed.seq.{('first', None, 'second').index(path[1])}.{pair[path[2]]}"
  stage, block = path[0].removeprefix("stage").split("_")
  unit = f"layers.{stage}." + ("downsample" if block == "merge" else f"blocks.{block}")
  if path[1] in _MBCONV:
    return f"{unit}.{_MBCONV[path[1]]}.{pair[path[2]]}"
  if path[1] == "local":
    return f"{unit}.local_conv.{pair[path[2]]}"
  if path[1] == "attention":
    return ".".join([unit, "attn", *path[2:]])
  return f"{unit}.mlp.{_MLP[path[2]]}"


_MLP = {"norm": "norm", "expand": "fc1", "reduce": "fc2"}
_MBCONV = {"expand": "conv1", "depthwise": "conv2", "reduce": "conv3"}
_MODULES = {"resnet18": _resnet18_module, "tinyvit": _tinyvit_module}
_HEAD = ("head", "kernel")
_STEMS = {"resnet18": ("stem", "conv", "kernel"), "tinyvit": ("stem", "first", "conv", "kernel")}


def torch_name(name: str, path: Path) -> str:
  """Return the state-dict name of the leaf at `path` (below "params" or "batch_stats")."""
  if not isinstance(name, str) or name not in _MODULES:
    given = name if isinstance(name, str) else shown(name)
    raise ModelError(
      f"no PyTorch names are defined for model '{given}'; {closest(given, _MODULES)}"
    )
  return f"{_MODULES[name](path[:-1])}.{_LEAVES.get(path[-1], path[-1])}"


def from_torch(name: str, state_dict: Mapping[str, object]) -> dict:
  """Turn a state dict of NumPy arrays or torch tensors into variables {"params", "batch_stats"}.

  Kernels O,I,h,w become h,w,I,O and linear weights are transposed; float32 and float64 are kept
  (float64 only where jax has it enabled). Class and channel counts follow the arrays;
  `num_batches_tracked` is ignored. Raises ModelError for missing, unexpected or wrongly shaped
  entries, and for those of another type or with NaN.
  """
  if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
    raise ModelError(
      f"state dict of {name} must map names to arrays, as torch_model.state_dict() does, got "
      f"{type(state_dict).__name__}"
    )
  arrays = {key: value for key, value in state_dict.items() if _COUNTER not in key}
  expected = _expected(name, arrays)
  _refuse_misfit(name, arrays, expected)
  variables: dict[str, Any] = {}
  for key, (path, shape) in expected.items():
    given = _to_numpy(key, arrays[key])
    array = _from_torch_layout(path[-1], given)
    if array.shape != shape:
      want = _to_torch_layout(path[-1], np.empty(shape, bool)).shape
      raise ModelError(f"state dict entry '{key}' has shape {given.shape}, {name} needs {want}")
    node = variables
    for part in path[:-1]:
      node = node.setdefault(part, {})
    node[path[-1]] = jnp.asarray(array)
  return variables


def to_torch(name: str, variables: Mapping) -> dict[str, np.ndarray]:
  """Turn variables into a state dict of NumPy arrays, `num_batches_tracked` written as 0.

  `torch_model.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch(...).items()})` loads
  it. Raises ModelError where the variables are not those of the network.
  """
  torch_name(name, _HEAD)  # the network's name is looked at first
  state_dict = {}
  for path, leaf in _paths(user_network.plain_variables(variables)).items():
    try:
      key = torch_name(name, path[1:])
    except (KeyError, ValueError, IndexError) as error:
      raise ModelError(f"variables hold {'/'.join(path)}, which {name} does not have") from error
    state_dict[key] = np.ascontiguousarray(_to_torch_layout(path[-1], np.asarray(leaf)))
    if path[-1] == "var":
      state_dict[key.replace("running_var", _COUNTER)] = np.zeros((), np.int64)
  arrays = {key: array for key, array in state_dict.items() if _COUNTER not in key}
  _refuse_misfit(name, arrays, _expected(name, arrays))
  return state_dict


def _expected(name: str, arrays: Mapping[str, object]) -> Mapping[str, tuple[Path, tuple]]:
  """Map each state-dict name to its path in the variables and its shape there."""
  shapes = {}
  stem = torch_name(name, _STEMS.get(name, ()))
  for key, axes in ((torch_name(name, _HEAD), 2), (stem, 4)):
    if key not in arrays:
      raise ModelError(f"state dict does not fit {name}: missing {key}")
    shapes[key] = _to_numpy(key, arrays[key]).shape
    if len(shapes[key]) != axes or 0 in shapes[key]:
      raise ModelError(f"state dict entry '{key}' must have {axes} axes, got {shapes[key]}")
  head, stem = shapes.values()
  if head[0] < 2:
    raise ModelError(
      f"state dict of {name} is of one class; expected at least 2 outputs, got {head}"
    )
  return _names(name, head[0], stem[1])


@functools.lru_cache(maxsize=8)
def _names(name: str, classes: int, channels: int) -> Mapping[str, tuple[Path, tuple]]:
  module = MODELS[name](num_classes=classes)
  image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), image)
  return {torch_name(name, path[1:]): (path, leaf.shape) for path, leaf in _paths(shapes).items()}


def _paths(tree):
  pairs = jax.tree_util.tree_leaves_with_path(tree)
  return {tuple(key.key for key in path): leaf for path, leaf in pairs}


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
