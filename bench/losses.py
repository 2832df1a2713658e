"""Float32 training losses of the engine and of PyTorch on the same batches of CIFAR-10.

Same initial weights, same images in the same order, no augmentation. Two float32 programs that add
in different orders drift apart as training amplifies round-off; so PyTorch is run four times, in
its two memory formats, and with one and with all threads. The engine must differ from PyTorch by no
more than PyTorch differs from itself.

  python bench/losses.py --steps=200        # TFDS_DATA_DIR names the prepared data sets
"""

import argparse
import itertools
import json
import sys

import numpy as np
import problems


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--steps", type=int, default=200, help="training steps (default 200)")
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--json", metavar="FILE", help="write the losses here")
  return parser.parse_args()


def engine(args, x, y, state) -> np.ndarray:
  """Return the losses [steps] of one member that visits the samples in stored order."""
  import jax

  from jaxmu import models
  from jaxmu.data.augment import Preprocess
  from jaxmu.engine.population import Population, member_keys
  from jaxmu.execution import runner
  from jaxmu.training import Task
  from jaxmu.training.task import Arrays
  from jaxmu.unlearning import get

  population = Population(1, devices=(jax.devices()[0],))
  normalise = Preprocess((problems.MEAN,) * 3, (problems.STD,) * 3, "none", 3)
  task = Task(models.make("resnet18", 10), 10, normalise, shuffle=False)
  index = {"retain": np.arange(len(y), dtype=np.int32)[None]}
  problem = runner.Problem(population, task, population.share(Arrays(x, y)), index)
  variables = jax.tree.map(
    lambda leaf: np.asarray(leaf)[None], models.from_torch("resnet18", state)
  )
  method, legs = get("retrained"), []
  given = problems.RECIPE | {"batch_size": args.batch, "num_epochs": 1}
  hp, keys = [method.hyperparameters(given)], member_keys([0])
  runner.run(method, problem, variables, hp=hp, keys=keys, on_leg=legs.append)
  return legs[0].metrics.loss[0]


def eager(args, x, y, net, layout, threads) -> np.ndarray:
  """Return the losses [steps] of PyTorch's training from the same weights."""
  import copy

  import torch

  torch.set_num_threads(threads)
  net = copy.deepcopy(net).to(memory_format=layout)
  recipe = {"lr" if k == "learning_rate" else k: v for k, v in problems.RECIPE.items()}
  optimizer, losses = torch.optim.SGD(net.parameters(), **recipe), []
  for i in range(args.steps):
    part = slice(i * args.batch, (i + 1) * args.batch)
    images = torch.from_numpy(x[part]).permute(0, 3, 1, 2).float() / 255
    images = ((images - problems.MEAN) / problems.STD).contiguous(memory_format=layout)
    optimizer.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(net(images), torch.from_numpy(y[part]).long())
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
  return np.array(losses)


def report(losses) -> None:
  """Print mean losses, and root mean squares of the differences of losses, by range of steps."""
  others = [name for name in losses if name != "jaxmu"]
  rms = lambda a, b, part: float(np.sqrt(np.mean((losses[a] - losses[b])[part] ** 2)))
  print(
    f"{'steps':>9}{'engine':>9}{'PyTorch':>18}{'engine - PyTorch':>20}{'PyTorch - PyTorch':>20}"
  )
  steps = len(losses["jaxmu"])
  edges = [edge for edge in (0, 3, 10, 50, 100) if edge < steps] + [steps]
  for start, stop in itertools.pairwise(edges):
    part = slice(start, stop)
    means = [losses[name][part].mean() for name in others]
    apart = [rms("jaxmu", name, part) for name in others]
    own = [rms(a, b, part) for a, b in itertools.combinations(others, 2)]
    span = lambda values: f"{min(values):.4f}-{max(values):.4f}"
    print(
      f"{f'{start}-{stop}':>9}{losses['jaxmu'][part].mean():>9.4f}{span(means):>18}{span(apart):>20}"
      f"{span(own):>20}"
    )


def main() -> None:
  args = parse()
  from jaxmu import data
  from jaxmu.engine import runtime

  runtime.configure()
  import torch
  from torch_models import ResNet18

  dataset = data.load("cifar10")
  count = args.steps * args.batch
  x, y = dataset.images[:count], dataset.labels[:count].astype(np.int32)
  torch.manual_seed(0)
  net = ResNet18()
  losses = {"jaxmu": engine(args, x, y, {k: v.numpy() for k, v in net.state_dict().items()})}
  formats = {"": torch.contiguous_format, "-channels-last": torch.channels_last}
  for name, layout in formats.items():
    for threads in sorted({1, runtime.cores()}):
      losses[f"torch{name}-{threads}"] = eager(args, x, y, net, layout, threads)
  report(losses)
  if args.json:
    with open(args.json, "w", encoding="utf-8") as file:
      json.dump({name: value.tolist() for name, value in losses.items()}, file)


if __name__ == "__main__":
  sys.exit(main())
