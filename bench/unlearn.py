"""What each unlearning method costs per member, beside the cost of its training passes alone.

Every method runs on the same population (random images, a tenth of them to forget) with one epoch
where it has epochs. `passes` counts equivalent sample-passes per member (forward 1, backward 2);
`ms per 1000 passes` shows which methods cost more than their passes: replays, noise, masks,
teachers. Compilation is timed apart.

  python bench/unlearn.py --model=cnn --members=10
  python bench/unlearn.py --model=resnet18 --members=2 --images=640 --methods=ft,msg,scrub
"""

import argparse
import json
import sys
import time

import numpy as np
import problems


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="cnn", choices=sorted(problems.IMAGES))
  parser.add_argument("--members", type=int, default=10, help="models unlearned (default 10)")
  parser.add_argument("--images", type=int, default=1280, help="images in all (default 1280)")
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--turns", type=int, default=3, help="timed runs per method (default 3)")
  parser.add_argument("--methods", default="", help="names with commas (default: all)")
  parser.add_argument("--json", metavar="FILE", help="write the rows here")
  return parser.parse_args()


def hyperparameters(method, batch) -> dict:
  """Return the method's defaults with one epoch and the batch size wherever it has such."""
  given = {name: 1 for name in method.defaults if name.endswith("num_epochs")}
  if method.name == "rni":
    given |= {"num_epochs": 2, "fine_num_epochs": 1}
  given |= {name: batch for name in method.defaults if name.endswith("batch_size")}
  return method.hyperparameters(given)


def measure(args, name) -> dict:
  """Run one method `turns` times after a first run that compiles."""
  import jax_programs

  from jaxmu.execution import runner
  from jaxmu.unlearning import get

  args.steps = args.images // args.batch
  problem, keys, variables = jax_programs.population(args)
  order, cuts = np.arange(args.images, dtype=np.int32), [0.1, 0.2]
  forget, val, retain = np.split(order, [int(args.images * cut) for cut in cuts])
  sets = {"retain": retain, "forget": forget, "val": val}
  index = {part: np.tile(places, (args.members, 1)) for part, places in sets.items()}
  method = get(name)
  needed = {part: index[part] for part in index if part in method.needs}
  problem = runner.Problem(problem.population, problem.task, problem.arrays, needed)
  hp = [hyperparameters(method, args.batch)] * args.members
  wall, cpu = [], []
  for turn in range(args.turns + 1):
    start = time.process_time()
    outcome = runner.run(method, problem, variables, hp=hp, keys=keys)
    if turn:
      wall.append(outcome.seconds)
      cpu.append(time.process_time() - start)
    else:
      compiled = outcome.compile_seconds
  passes = outcome.passes[0]
  per = 1e3 / args.members
  asked = {"method": name, "model": args.model, "batch": args.batch, "members": args.members}
  return {
    "program": "jaxmu",
    **asked,
    "passes": passes,
    "compile_seconds": compiled,
    "wall_ms_per_member": float(np.median(wall)) * per,
    "cpu_ms_per_member": float(np.median(cpu)) * per,
    "wall_ms_per_1000_passes": float(np.median(wall)) * per * 1e3 / passes,
  }


def main() -> None:
  args = parse()
  from jaxmu.engine import runtime

  runtime.configure()
  from jaxmu.unlearning import METHODS

  names = args.methods.split(",") if args.methods else sorted(METHODS)
  rows = []
  print(f"{args.model}, {args.images} images, batch {args.batch}, {args.members} members")
  titles = ("wall ms", "CPU ms", "passes", "ms/1000", "compile s")
  times = ("wall_ms_per_member", "cpu_ms_per_member")
  columns = (*times, "passes", "wall_ms_per_1000_passes", "compile_seconds")
  print(f"{'method':<10}" + "".join(f"{title:>12}" for title in titles))
  for name in names:
    rows.append(measure(args, name))
    values = "".join(f"{rows[-1][column]:>12.4g}" for column in columns)
    print(f"{name:<10}{values}", flush=True)
  if args.json:
    with open(args.json, "w", encoding="utf-8") as file:
      json.dump(rows, file, indent=1)


if __name__ == "__main__":
  sys.exit(main())
