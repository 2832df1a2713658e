"""Predictions of whole populations: jaxmu's logits beside PyTorch eager in inference mode.

python bench/predict.py --model=resnet18 --members=4 --images=2000
"""

import argparse
import sys

import problems
import turns

PROGRAMS = ("jaxmu", "torch-eager", "torch-eager-channels-last")


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="resnet18", choices=sorted(problems.IMAGES))
  parser.add_argument("--members", type=int, default=4, help="models evaluated (default 4)")
  parser.add_argument("--images", type=int, default=2000, help="images per turn (default 2000)")
  parser.add_argument("--batch", type=int, default=500, help="batch size (default 500)")
  return turns.arguments(parser)


def jaxmu(args, mark) -> None:
  from jaxmu.engine import runtime

  runtime.configure()
  import jax_programs

  from jaxmu.execution import predictions

  args.steps = args.images // args.batch
  problem, _, variables = jax_programs.population(args)
  variables = problem.population.place(variables)
  mark()
  while True:
    predictions.logits(problem.population, problem.task, problem.arrays, variables, args.batch)
    mark()


def eager(args, mark) -> None:
  import torch
  import torch_programs

  from jaxmu.engine.runtime import cores

  torch.set_num_threads(cores())
  args.steps = args.images // args.batch
  layout = torch.channels_last if args.worker.endswith("last") else torch.contiguous_format
  x, _ = torch_programs.data(args, layout)
  network = torch_programs.NETWORKS[args.model]
  nets = [network().eval().to(memory_format=layout) for _ in range(args.members)]
  mark()
  while True:
    with torch.inference_mode():
      for net in nets:
        for part in x.split(args.batch):
          images = (part.float() / 255 - problems.MEAN) / problems.STD
          net(images.contiguous(memory_format=layout))
    mark()


def main() -> None:
  args = parse()
  if args.worker:
    turns.work(jaxmu if args.worker == "jaxmu" else eager, args)
    return
  options = [f"--{n}={getattr(args, n)}" for n in ("model", "members", "images", "batch", "turns")]
  answers = turns.measure(__file__, PROGRAMS, options, args.turns)
  labels = {"model": args.model, "batch": args.batch, "members": args.members}
  units = args.members * (args.images // args.batch)
  rows = [turns.row(times, units, program=name, **labels) for name, times in answers.items()]
  print(f"{args.model}, batch {args.batch}, {args.members} members; ms per batch of one member")
  print(turns.table(rows, "torch-eager"))
  turns.write_json(args.json, rows)


if __name__ == "__main__":
  sys.exit(main())
