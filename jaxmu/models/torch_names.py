"""What PyTorch calls the parameters of each network: torchvision's names, or TinyViT's own."""

from collections.abc import Callable

from jaxmu.errors import ModelError, closest, shown

Path = tuple[str, ...]

_LEAVES = {"kernel": "weight", "scale": "weight"} | {"mean": "running_mean", "var": "running_var"}
_CONVS = ("first", "second", "third")


def _resnet_module(path: Path) -> str:
  """Translate a module path to torchvision's: stage2_0/first/norm -> layer2.0.bn1."""
  if path[0] == "head":
    return "fc"
  if path[0] == "stem":
    return {"conv": "conv1", "norm": "bn1"}[path[1]]
  stage, block = path[0].removeprefix("stage").split("_")
  if path[1] == "shortcut":
    part = {"conv": "downsample.0", "norm": "downsample.1"}[path[2]]
  else:
    part = {"conv": "conv", "norm": "bn"}[path[2]] + str(1 + _CONVS.index(path[1]))
  return f"layer{stage}.{block}.{part}"


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


def _vit_name(path: Path) -> str:
  """Translate a leaf's path to torchvision's name: stage1/mlp/expand -> encoder_layer_0.mlp.0."""
  leaf = _LEAVES.get(path[-1], path[-1])
  if path[0] in ("head", "norm"):
    return {"head": "heads.head", "norm": "encoder.ln"}[path[0]] + f".{leaf}"
  if path[0] == "stem":
    places = {"class_token": "class_token", "pos_embedding": _POSITIONS}
    return f"conv_proj.{leaf}" if path[1] == "conv" else places[path[1]]
  layer = f"encoder.layers.encoder_layer_{int(path[0].removeprefix('stage')) - 1}"
  if path[2] == "qkv":  # which PyTorch has as parameters of its own, not as a layer
    return f"{layer}.self_attention.in_proj_{leaf}"
  return f"{layer}.{_VIT_LAYERS[path[1:3]]}.{leaf}"


_POSITIONS = "encoder.pos_embedding"
_VIT_LAYERS: dict[Path, str] = {
  ("attention", "norm"): "ln_1",
  ("attention", "proj"): "self_attention.out_proj",
  ("mlp", "norm"): "ln_2",
  ("mlp", "expand"): "mlp.0",
  ("mlp", "reduce"): "mlp.3",
}
_MLP = {"norm": "norm", "expand": "fc1", "reduce": "fc2"}
_MBCONV = {"expand": "conv1", "depthwise": "conv2", "reduce": "conv3"}


def _of(module: Callable[[Path], str]) -> Callable[[Path], str]:
  """Name leaves where PyTorch has the same layers."""
  return lambda path: f"{module(path[:-1])}.{_LEAVES.get(path[-1], path[-1])}"


_NAMES = {
  **dict.fromkeys(("resnet18", "resnet34", "resnet50"), _of(_resnet_module)),
  "tinyvit": _of(_tinyvit_module),
  "vit_b_16": _vit_name,
}
_STEM = ("stem", "conv", "kernel")
_STEMS = {"tinyvit": ("stem", "first", "conv", "kernel")}


def torch_name(name: str, path: Path) -> str:
  """Return the state-dict name of the leaf at `path` (below "params" or "batch_stats").

  Raises ModelError for a network without such names, KeyError, ValueError or IndexError for a leaf
  that it does not have.
  """
  if not isinstance(name, str) or name not in _NAMES:
    given = name if isinstance(name, str) else shown(name)
    raise ModelError(f"no PyTorch names are defined for model '{given}'; {closest(given, _NAMES)}")
  return _NAMES[name](path)


def head_name(name: str) -> str:
  """Return the state-dict name of the last linear layer's weight."""
  return torch_name(name, ("head", "kernel"))


def stem_name(name: str) -> str:
  """Return the state-dict name of the first convolution's weight."""
  return torch_name(name, _STEMS.get(name, _STEM))


def position_name(name: str) -> str | None:
  """Return the state-dict name of the entry that says how large images are; None without one."""
  return _POSITIONS if name == "vit_b_16" else None
