"""Seconds to compile a population's training programs: with an empty cache, and from the cache.

  python bench/compile_time.py --model=resnet18 --members=4 --batch=64

Each case is a process of its own with a cache folder of its own; the second finds what the first
left. Counted is all that a training stage compiles: preparation, start and epoch, tracing included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import problems


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="resnet18", choices=sorted(problems.IMAGES))
  parser.add_argument("--members", type=int, default=4, help="models trained (default 4)")
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--json", metavar="FILE", help="write the rows here")
  parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
  return parser.parse_args()


def worker(args) -> None:
  """Train one epoch of two batches; print the seconds spent compiling."""
  from jaxmu.engine import runtime

  runtime.configure()
  import jax_programs

  from jaxmu.execution import runner
  from jaxmu.unlearning import get

  args.steps = 2
  problem, keys, variables = jax_programs.population(args)
  method = get("retrained")
  given = problems.RECIPE | {"batch_size": args.batch, "num_epochs": 1}
  hp = [method.hyperparameters(given)] * args.members
  outcome = runner.run(method, problem, variables, hp=hp, keys=keys)
  print(json.dumps({"compile_s": outcome.compile_seconds, "run_s": outcome.seconds}))


def main() -> None:
  args = parse()
  if args.worker:
    worker(args)
    return
  options = [f"--{name}={getattr(args, name)}" for name in ("model", "members", "batch")]
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": folder}
    for cache in ("empty", "filled"):
      command = [sys.executable, __file__, *options, "--worker"]
      result = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
      )
      rows.append({"model": args.model, "cache": cache} | json.loads(result.stdout))
      print(f"{args.model}, cache {cache}: {rows[-1]['compile_s']:.1f} s compiling", flush=True)
  if args.json:
    with open(args.json, "w") as file:
      json.dump(rows, file, indent=1)


if __name__ == "__main__":
  main()
