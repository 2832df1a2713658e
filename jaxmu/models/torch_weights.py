"""Import and export of PyTorch state dicts by parameter name, without importing torch."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.errors import ModelError, closest
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
_STEMS = {"resnet18": ("stem", "conv", "kernel"), "tinyvit": ("stem", "first", "conv", "kernel")}


def torch_name(name: str, path: Path) -> str:
  """Return the state-dict name of the leaf at `path` (below "params" or "batch_stats")."""
  if name not in _MODULES:
    raise ModelError(f"no PyTorch names are defined for model '{name}'; {closest(name, _MODULES)}")
  return f"{_MODULES[name](path[:-1])}.{_LEAVES.get(path[-1], path[-1])}"


def from_torch(name: str, state_dict: Mapping[str, object]) -> dict:
  """Turn a state dict of NumPy arrays or torch tensors into variables {"params", "batch_stats"}.

  Kernels O,I,h,w become h,w,I,O and linear weights are transposed; dtypes are kept (float64 only
  where jax has it enabled). Class and channel counts follow the arrays; `num_batches_tracked` is
  ignored. Raises ModelError for missing, unexpected or wrongly shaped entries.
  """
  arrays = {key: _to_numpy(value) for key, value in state_dict.items() if _COUNTER not in key}
  expected = _expected(name, arrays)
  missing, extra = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
  if missing or extra:
    raise ModelError(
      f"state dict does not fit {name}: missing {_some(missing)}, unexpected {_some(extra)}"
    )
  variables: dict[str, Any] = {}
  for key, (path, shape) in expected.items():
    array = _from_torch_layout(path[-1], arrays[key])
    if array.shape != shape:
      want = _to_torch_layout(path[-1], np.empty(shape, bool)).shape
      raise ModelError(
        f"state dict entry '{key}' has shape {arrays[key].shape}, {name} needs {want}"
      )
    node = variables
    for part in path[:-1]:
      node = node.setdefault(part, {})
    node[path[-1]] = jnp.asarray(array)
  return variables


def to_torch(name: str, variables: Mapping) -> dict[str, np.ndarray]:
  """Turn variables into a state dict of NumPy arrays, `num_batches_tracked` written as 0.

  `torch_model.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch(...).items()})` loads
  it.
  """
  state_dict = {}
  for path, leaf in _paths(variables).items():
    key = torch_name(name, path[1:])
    state_dict[key] = np.ascontiguousarray(_to_torch_layout(path[-1], np.asarray(leaf)))
    if path[-1] == "var":
      state_dict[key.replace("running_var", _COUNTER)] = np.zeros((), np.int64)
  return state_dict


def _expected(name, arrays):
  """Map each state-dict name to its path in the variables and its shape there."""
  head = torch_name(name, ("head", "kernel"))
  stem = torch_name(name, _STEMS.get(name, ()))
  for key, axes in ((head, 2), (stem, 4)):
    if key not in arrays:
      raise ModelError(f"state dict does not fit {name}: missing {key}")
    if arrays[key].ndim != axes:
      raise ModelError(f"state dict entry '{key}' must have {axes} axes, got {arrays[key].shape}")
  module = MODELS[name](num_classes=arrays[head].shape[0])
  image = jax.ShapeDtypeStruct((1, 32, 32, arrays[stem].shape[1]), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), image)
  return {torch_name(name, path[1:]): (path, leaf.shape) for path, leaf in _paths(shapes).items()}


def _paths(tree):
  pairs = jax.tree_util.tree_leaves_with_path(tree)
  return {tuple(key.key for key in path): leaf for path, leaf in pairs}


def _to_numpy(value):
  if hasattr(value, "detach"):
    value = value.detach().cpu().numpy()
  return np.asarray(value)


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
