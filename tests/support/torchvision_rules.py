"""State dicts under torchvision's names, made by NumPy alone, and torchvision's networks for them.

Run as a program it prints what tests/models/data/torchvision_logits.json holds, which needs
torchvision: `PYTHONPATH=tests python -m support.torchvision_rules`.
"""

import contextlib
import json
import zlib

import numpy as np

CLASSES = 5
SIZES = {"resnet18": 64, "resnet34": 64, "resnet50": 64, "vit_b_16": 32}  # pixels of the images
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def shapes(name: str, side: int = 32) -> dict[str, tuple[int, ...]]:
  """Return the names and shapes of a network's state dict, in its order.

  Args:
    side: pixels of the images; only ViT-B/16's parameters depend on it.
  """
  if name == "vit_b_16":
    return _vit_shapes(side)
  expansion = 4 if name == "resnet50" else 1
  found, width = _conv("conv1", 64, 3, 7) | _norm("bn1", 64), 64
  for stage, depth in enumerate(DEPTHS[name]):
    features = 64 * 2**stage
    for block in range(depth):
      path, out = f"layer{stage + 1}.{block}", expansion * features
      sizes = ((features, width, 3), (features, features, 3))
      if expansion == 4:
        sizes = ((features, width, 1), (features, features, 3), (out, features, 1))
      for number, (outputs, inputs, size) in enumerate(sizes, 1):
        found |= _conv(f"{path}.conv{number}", outputs, inputs, size)
        found |= _norm(f"{path}.bn{number}", outputs)
      if block == 0 and (stage or expansion == 4):
        found |= _conv(f"{path}.downsample.0", out, width, 1) | _norm(f"{path}.downsample.1", out)
      width = out
  return found | _linear("fc", CLASSES, width)


def _vit_shapes(side):
  width, tokens = 768, (side // 16) ** 2 + 1
  found = {"class_token": (1, 1, width)} | _conv("conv_proj", width, 3, 16)
  found |= {"conv_proj.bias": (width,), "encoder.pos_embedding": (1, tokens, width)}
  for layer in range(12):
    path = f"encoder.layers.encoder_layer_{layer}"
    found |= _scale(f"{path}.ln_1", width)
    found |= {f"{path}.self_attention.in_proj_weight": (3 * width, width)}
    found |= {f"{path}.self_attention.in_proj_bias": (3 * width,)}
    found |= _linear(f"{path}.self_attention.out_proj", width, width) | _scale(
      f"{path}.ln_2", width
    )
    found |= _linear(f"{path}.mlp.0", 4 * width, width) | _linear(f"{path}.mlp.3", width, 4 * width)
  return found | _scale("encoder.ln", width) | _linear("heads.head", CLASSES, width)


def _conv(name, outputs, inputs, size):
  return {f"{name}.weight": (outputs, inputs, size, size)}


def _scale(name, features):
  return {f"{name}.weight": (features,), f"{name}.bias": (features,)}


def _norm(name, features):
  statistics = {f"{name}.running_mean": (features,), f"{name}.running_var": (features,)}
  return _scale(name, features) | statistics | {f"{name}.num_batches_tracked": ()}


def _linear(name, outputs, inputs):
  return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def weights(name: str, side: int = 32) -> dict[str, np.ndarray]:
  """Return a random state dict, float32; no bias and no statistic is what it starts from."""
  return {key: _tensor(key, shape) for key, shape in shapes(name, side).items()}


def _tensor(name, shape):
  if name.endswith("num_batches_tracked"):
    return np.zeros(shape, np.int64)
  g = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
  if name.endswith("running_var"):
    return np.exp(np.float32(0.1) * g)
  if len(shape) in (2, 4):
    return g / np.float32(np.sqrt(np.prod(shape[1:])))
  return (name.endswith("weight") + np.float32(0.3) * g).astype(np.float32)


def images(size: int, count: int = 2) -> np.ndarray:
  """Return float32 images [count, size, size, 3]."""
  return np.random.default_rng(size).standard_normal((count, size, size, 3), np.float32)


def torchvision():
  """Import torchvision, also where its compiled operators do not fit PyTorch's build.

  The networks need none of them, but two must be declared or the import fails.
  """
  import torch

  with contextlib.suppress(RuntimeError):
    import torchvision

    return torchvision
  boxes = torch.library.Library("torchvision", "FRAGMENT")
  for operator in ("nms", "qnms"):
    boxes.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
  import torchvision

  return torchvision


def empty(name: str, side: int = 32):
  """Return torchvision's network as it starts."""
  options = {"image_size": side} if name == "vit_b_16" else {}
  return torchvision().models.get_model(name, num_classes=CLASSES, **options)


def network(name: str, side: int = 32):
  """Return torchvision's network with `weights`, in eval mode."""
  import torch

  made, state_dict = empty(name, side), weights(name, side)
  made.load_state_dict({key: torch.from_numpy(value) for key, value in state_dict.items()})
  return made.eval()


def logits(network, x: np.ndarray) -> np.ndarray:
  """Return the logits [n, classes] of images [n, H, W, C]."""
  import torch

  with torch.no_grad():
    return network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


if __name__ == "__main__":
  made = {name: network(name, side) for name, side in SIZES.items()}
  found = {name: logits(made[name], images(size)).tolist() for name, size in SIZES.items()}
  print(json.dumps(found, indent=1))
