"""One training step of ResNet-18 per model: the population engine beside PyTorch eager.

Both programs train the same number of models on the same random 32x32 images, uint8 on the device,
gathered and normalised in the step, SGD with momentum and weight decay, float32. jaxmu runs its
population over one single-threaded device per core; PyTorch trains one model after another with all
cores, in both memory formats. Programs live in processes of their own and take turns, so that a
busy machine disturbs all alike; compilation and warm-up are not timed.

  python bench/train_step.py --members=2 --batch=64
  python bench/train_step.py --json=rows.json

Prints per program the median wall and CPU milliseconds of one step of one model, and the ratio to
the best PyTorch format. Needs the `torch` extra.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

PROGRAMS = ("jaxmu", "torch-eager", "torch-eager-channels-last")


def main() -> None:
  args = parse()
  if args.worker:
    (run_jaxmu if args.worker == "jaxmu" else run_torch)(args)
    return
  rows = measure(args)
  print_table(rows)
  if args.json:
    with open(args.json, "w", encoding="utf-8") as file:
      json.dump(rows, file, indent=1)


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--members", type=int, default=2, help="models trained (default 2)")
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--steps", type=int, default=6, help="steps per turn (default 6)")
  parser.add_argument("--turns", type=int, default=9, help="timed turns per program (default 9)")
  parser.add_argument("--json", metavar="FILE", help="write the rows here")
  parser.add_argument("--worker", choices=PROGRAMS, help=argparse.SUPPRESS)
  return parser.parse_args()


def measure(args) -> list[dict]:
  """Let the programs take turns; returns one row per program."""
  options = [f"--{name}={getattr(args, name)}" for name in ("members", "batch", "steps", "turns")]
  workers = {
    name: subprocess.Popen(
      [sys.executable, __file__, *options, f"--worker={name}"],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    for name in PROGRAMS
  }
  times: dict[str, list[dict]] = {name: [] for name in PROGRAMS}
  for turn in range(args.turns + 1):
    for name, worker in workers.items():
      worker.stdin.write("go\n")
      worker.stdin.flush()
      answer = json.loads(worker.stdout.readline())
      if turn:  # the first turn compiles and warms up
        times[name].append(answer)
  for worker in workers.values():
    worker.stdin.close()
    worker.wait()
  return [row(name, args, times[name]) for name in PROGRAMS]


def row(name, args, times) -> dict:
  per_step = 1e3 / (args.steps * args.members)
  median = lambda key: statistics.median(t[key] for t in times) * per_step
  return {
    "program": name,
    "model": "resnet18",
    "batch": args.batch,
    "members": args.members,
    "turns": len(times),
    "wall_ms_per_member": median("wall"),
    "cpu_ms_per_member": median("cpu"),
    "wall_ms_low": min(t["wall"] for t in times) * per_step,
    "wall_ms_high": max(t["wall"] for t in times) * per_step,
  }


def print_table(rows) -> None:
  torch = min(r["wall_ms_per_member"] for r in rows if r["program"].startswith("torch"))
  torch_cpu = min(r["cpu_ms_per_member"] for r in rows if r["program"].startswith("torch"))
  titles = f"{'program':<28}{'wall ms':>9}{'(range)':>16}{'CPU ms':>9}"
  print(f"{titles}{'wall / torch':>14}{'CPU / torch':>13}")
  for r in rows:
    span = f"({r['wall_ms_low']:.0f}-{r['wall_ms_high']:.0f})"
    print(
      f"{r['program']:<28}{r['wall_ms_per_member']:>9.1f}{span:>16}{r['cpu_ms_per_member']:>9.1f}"
      f"{r['wall_ms_per_member'] / torch:>14.2f}{r['cpu_ms_per_member'] / torch_cpu:>13.2f}"
    )


def await_go() -> None:
  """Wait for the turn; ends the process once there are no more turns."""
  if not sys.stdin.readline():
    sys.exit(0)


def report(wall: float, cpu: float) -> None:
  print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)


def images(args):
  import numpy as np

  rng = np.random.default_rng(0)
  n = args.batch * args.steps
  return rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n).astype(np.int32)


def run_jaxmu(args) -> None:
  """Train through the engine; one epoch of `steps` batches is one turn."""
  from jaxmu import runtime

  runtime.configure()
  import jax
  import jax.numpy as jnp
  import numpy as np

  from jaxmu import models
  from jaxmu.data.augment import Preprocess
  from jaxmu.population import Population, member_keys
  from jaxmu.training import Task
  from jaxmu.training.task import Arrays
  from jaxmu.unlearning import get, runner

  x, y = images(args)
  population = Population(args.members)
  module = models.make("resnet18", 10)
  task = Task(module, 10, Preprocess((0.49, 0.48, 0.45), (0.2, 0.2, 0.2), "none", 3))
  index = {"retain": np.tile(np.arange(len(y), dtype=np.int32), (args.members, 1))}
  problem = runner.Problem(population, task, population.share(Arrays(x, y)), index)
  keys = member_keys(range(args.members))
  one = module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  variables = jax.tree.map(lambda leaf: np.stack([leaf] * args.members), one)
  clock = {"cpu": time.process_time()}

  def on_leg(leg):
    report(leg.seconds, time.process_time() - clock["cpu"])
    await_go()
    clock["cpu"] = time.process_time()

  await_go()
  given = {"batch_size": args.batch, "num_epochs": args.turns + 2, "learning_rate": 0.01}
  method = get("retrained")
  hp = [method.hyperparameters(given)] * args.members
  runner.run(method, problem, variables, hp=hp, keys=keys, on_leg=on_leg)


def run_torch(args) -> None:
  """Train one model after another with every core."""
  import torch

  from jaxmu.runtime import cores

  sys.path.insert(0, __file__.rpartition("/")[0])
  from torch_models import ResNet18

  torch.set_num_threads(cores())
  layout = torch.channels_last if args.worker.endswith("last") else torch.contiguous_format
  x, y = images(args)
  x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
  y = torch.from_numpy(y).long()
  nets = [ResNet18().to(memory_format=layout) for _ in range(args.members)]
  options = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
  optimizers = [torch.optim.SGD(net.parameters(), **options) for net in nets]
  loss = torch.nn.CrossEntropyLoss()

  def train(net, optimizer):
    for index in torch.randperm(len(y)).split(args.batch):
      batch = ((x[index].float() / 255 - 0.48) / 0.2).contiguous(memory_format=layout)
      optimizer.zero_grad(set_to_none=True)
      loss(net(batch), y[index]).backward()
      optimizer.step()

  while True:
    await_go()
    wall, cpu = time.perf_counter(), time.process_time()
    for net, optimizer in zip(nets, optimizers):
      train(net, optimizer)
    report(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
  main()
