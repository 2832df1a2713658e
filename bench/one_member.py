"""Why a population of one is slower by wall clock than a larger one: the floor that operations set.

With K members, K at least the number of cores, every core works on a member of its own. One member
needs all cores for one operation, or independent operations. A forward pass in train mode has next
to none of the latter: every layer reads the one before. So this measures, in processes that take
turns, the forward pass alone and the whole training step, for one member and for one per core. If
backward pass and optimizer of one member were shared out between the cores perfectly, and their
work stayed the same, its step would still take

  forward pass of one member + (step - forward pass, CPU time with a member per core) / cores

  python bench/one_member.py --model=resnet18 --steps=16
"""

import argparse
import sys

import jax_programs
import problems
import turns


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--model", default="resnet18", choices=sorted(problems.IMAGES))
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--steps", type=int, default=16, help="steps per turn (default 16)")
  return turns.arguments(parser)


def programs(cores: int) -> dict[str, tuple[str, int]]:
  """Return program name -> (pass, members)."""
  sizes = dict.fromkeys((1, cores))
  return {f"{kind}, K={k}": (kind, k) for kind in ("forward", "step") for k in sizes}


def summary(args, kind: str, members: int, times) -> dict:
  labels = {"model": args.model, "batch": args.batch, "members": members}
  return turns.row(times, args.steps * members, program="jaxmu", work=kind, **labels)


def floor(rows: dict, cores: int) -> float:
  """Return the milliseconds of one member's step with a perfect backward pass."""
  alone, many = rows["forward, K=1"], rows[f"forward, K={cores}"]
  rest = rows[f"step, K={cores}"]["cpu_ms_per_member"] - many["cpu_ms_per_member"]
  return alone["wall_ms_per_member"] + rest / cores


def main() -> None:
  args = parse()
  from jaxmu.engine import runtime

  cores = runtime.cores()
  known = programs(cores)
  if args.worker:
    kind, args.members = known[args.worker]
    turns.work({"forward": jax_programs.forward, "step": jax_programs.jaxmu}[kind], args)
    return
  options = [f"--{n}={getattr(args, n)}" for n in ("model", "batch", "steps", "turns")]
  answers = turns.measure(__file__, list(known), options, args.turns)
  if len(answers) < len(known):
    sys.exit(1)  # the comparison needs them all
  rows = {name: summary(args, *known[name], times) for name, times in answers.items()}
  print(f"{args.model}, batch {args.batch}, {cores} cores; ms per step of one member")
  print(f"{'work':<16}{'wall ms':>9}{'(range)':>16}{'CPU ms':>9}{'cores in use':>14}")
  for name, row in rows.items():
    wall, cpu = row["wall_ms_per_member"], row["cpu_ms_per_member"]
    span = f"({row['wall_ms_low']:.4g}-{row['wall_ms_high']:.4g})"
    print(f"{name:<16}{wall:>9.4g}{span:>16}{cpu:>9.4g}{cpu / wall:>14.2f}")
  least, many = floor(rows, cores), rows[f"step, K={cores}"]["wall_ms_per_member"]
  print(
    f"one member with backward pass and optimizer shared out perfectly: {least:.4g} ms, "
    f"{least / many:.2f} times a member of K={cores}"
  )
  turns.write_json(args.json, list(rows.values()))


if __name__ == "__main__":
  sys.exit(main())
