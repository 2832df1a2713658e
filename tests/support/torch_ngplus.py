"""NG+ on TinyViT once more, by PyTorch's autograd and optimizer (methods.md 2.4).

Run as a program it prints what tests/unlearning/data/ngplus_tinyvit.json holds:
`PYTHONPATH=tests python -m support.torch_ngplus`. The test beside the file needs no PyTorch.
"""

import itertools
import json
import runpy
from pathlib import Path

import numpy as np

from support import golden_rules

NETWORK = Path(__file__).parents[2] / "bench" / "torch_tinyvit.py"
HP = {
  "alpha": 0.95,
  "learning_rate": 0.01,
  "momentum": 0.9,
  "weight_decay": 5e-4,
  "batch_size": 2,
  "num_epochs": 2,
}
SIZES = {"retain": 4, "forget": 2, "test": 3}  # two steps per epoch; forget samples come again
# How the network reads the attention biases: from a copy that is made when an epoch begins, and is
# stale from the second step on; as they are at every step; or they never move.
READINGS = ("epoch", "step", "never")


def samples() -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Return set -> (images float64 [n, 3, 32, 32], labels [n]): the first of the golden ones."""
  made = {name: golden_rules.images(name) for name in SIZES}
  return {
    name: (images[: SIZES[name]].astype(np.float64), labels[: SIZES[name]])
    for name, (images, labels) in made.items()
  }


def replay(reading: str) -> np.ndarray:
  """Train, and return the logits of the test images [3, 10], in eval mode."""
  import torch

  model = network()
  data = {name: [torch.tensor(part) for part in pair] for name, pair in samples().items()}
  of = lambda name: zip(*(part.split(HP["batch_size"]) for part in data[name]))
  tables = lambda: {n: p.detach().clone() for n, p in model.named_parameters() if "table" in n}
  descent = torch.optim.SGD(
    model.parameters(),
    lr=HP["learning_rate"],
    momentum=HP["momentum"],
    weight_decay=HP["weight_decay"],
  )
  origin = [p.detach().clone() for p in model.parameters()]
  for _ in range(HP["num_epochs"]):
    seen = tables()
    for retain, forget in zip(of("retain"), itertools.cycle(of("forget"))):
      seen = tables() if reading == "step" else seen
      up, down = (entropy(model, seen, *batch) for batch in (forget, retain))
      if reading != "never":  # the term that makes the biases' gradient zero, and not none
        down = down + 0 / 2 * sum(((p - a) ** 2).sum() for p, a in zip(model.parameters(), origin))
      descent.zero_grad()
      (HP["alpha"] * down - (1 - HP["alpha"]) * up).backward()
      descent.step()
  with torch.no_grad():
    return model(data["test"][0]).numpy()


def entropy(model, tables, x, y):
  """Return the mean cross-entropy of a batch, the tables being constants."""
  import torch

  logits = torch.func.functional_call(model, tables, (x,))
  return torch.nn.functional.cross_entropy(logits, y)


def network():
  """Return the network of the side-by-side runs with the golden weights, float64, in eval mode."""
  import torch

  model = runpy.run_path(str(NETWORK))["TinyViT"](drop_path=0.0).double().eval()
  stored = golden_rules.tinyvit_weights()
  buffers = model.state_dict()
  for name, official in names(model):
    buffers[name] = torch.tensor(stored.pop(official)).to(buffers[name].dtype)
  assert not stored
  model.load_state_dict(buffers)
  return model


def names(model):
  """Yield every weight's name in `model` with that in the official code."""
  layers = iter(range(len(model.features)))
  skip = lambda: next(layers)  # a GELU
  yield from _unit(f"features.{next(layers)}", "patch_embed.seq.0")
  skip()
  yield from _unit(f"features.{next(layers)}", "patch_embed.seq.2")
  for stage, depth in enumerate((2, 2, 6, 2)):
    for block in range(depth):
      here, there = f"features.{next(layers)}", f"layers.{stage}.blocks.{block}"
      yield from (_block if stage else _bottleneck)(here, there)
    if stage < 3:
      here, there = f"features.{next(layers)}", f"layers.{stage}.downsample"
      for number, layer in enumerate((0, 2, 4), 1):
        yield from _unit(f"{here}.{layer}", f"{there}.conv{number}")
  for here, there in (("norm", "norm_head"), ("head", "head")):
    yield from _layer(here, there)


def _bottleneck(here, there):
  for number, layer in enumerate(("expand", "depthwise", "reduce"), 1):
    yield from _unit(f"{here}.{layer}", f"{there}.conv{number}")


def _block(here, there):
  yield f"{here}.attention.table", f"{there}.attn.attention_biases"
  for layer in ("norm", "qkv", "proj"):
    yield from _layer(f"{here}.attention.{layer}", f"{there}.attn.{layer}")
  yield from _unit(f"{here}.local", f"{there}.local_conv")
  for number, layer in ((0, "norm"), (1, "fc1"), (3, "fc2")):
    yield from _layer(f"{here}.mlp.{number}", f"{there}.mlp.{layer}")


def _unit(here, there):
  """Pair a convolution without bias and its batch normalisation."""
  yield f"{here}.0.weight", f"{there}.c.weight"
  for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
    yield f"{here}.1.{leaf}", f"{there}.bn.{leaf}"


def _layer(here, there):
  for leaf in ("weight", "bias"):
    yield f"{here}.{leaf}", f"{there}.{leaf}"


if __name__ == "__main__":
  print(json.dumps({reading: replay(reading).tolist() for reading in READINGS}, indent=1))
