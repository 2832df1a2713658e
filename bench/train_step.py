"""One training step per member: jaxmu's engine beside PyTorch and stock JAX.

All programs train the same number of models on the same random images, uint8 in memory, gathered
and normalised in the step, with SGD, momentum and weight decay, float32. jaxmu runs its population
over one single-threaded device per core; the others use all cores for one operation at a time.
Programs live in processes of their own and take turns, so that a busy machine disturbs all alike;
compilation and warm-up are not timed.

  python bench/train_step.py --model=resnet18 --members=4 --batch=64
  python bench/train_step.py --model=cnn --members=10 --programs=all --json=rows.json

Prints per program the median wall and CPU milliseconds of one step of one model, and the speed-up
over the best PyTorch eager row. Needs the `torch` extra (only for the torch programs).
"""

import argparse
import sys
from pathlib import Path

import turns

JAX = ("jaxmu", "jax-loop", "jax-vmap", "jax-map")
TORCH = ("torch-eager", "torch-eager-channels-last")
SHORT_CUT = ("torch-short-cut", "torch-short-cut-channels-last")
MORE = {
  "resnet18": ("torch-compile-channels-last", "torch-vmap"),
  "cnn": ("torch-eager-1-thread", "torch-compile", "torch-vmap"),
  "tinyvit": (*SHORT_CUT, "torch-compile", "torch-vmap"),
}


def parse(given=None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--model", default="resnet18", choices=sorted(MORE))
  parser.add_argument("--members", type=int, default=4, help="models trained (default 4)")
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--steps", type=int, default=6, help="steps per turn (default 6)")
  parser.add_argument(
    "--programs",
    default="main",
    help="main: jaxmu and PyTorch eager; all: every program; or a list of names with commas",
  )
  return turns.arguments(parser, given)


def names(args) -> list[str]:
  """Resolve --programs."""
  more = MORE[args.model]
  if args.programs == "main":
    short = [name for name in more if name.startswith(("torch-eager", "torch-short"))]
    return ["jaxmu", *TORCH, *short]
  return [*JAX, *TORCH, *more] if args.programs == "all" else args.programs.split(",")


def worker(args) -> None:
  sys.path.insert(0, str(Path(__file__).parent))
  if args.worker in JAX:
    from jax_programs import PROGRAMS
  else:
    from torch_programs import PROGRAMS
  turns.work(PROGRAMS[args.worker], args)


def main() -> None:
  args = parse()
  if args.worker:
    worker(args)
    return
  options = [f"--{n}={getattr(args, n)}" for n in ("model", "members", "batch", "steps", "turns")]
  answers = turns.measure(__file__, names(args), options, args.turns)
  labels = {"model": args.model, "batch": args.batch, "members": args.members}
  units = args.steps * args.members
  rows = [turns.row(a, units, program=name, **labels) for name, a in answers.items()]
  print(f"{args.model}, batch {args.batch}, {args.members} members; ms per step of one member")
  print(turns.table(rows, "torch-eager"))
  turns.write_json(args.json, rows)


if __name__ == "__main__":
  main()
