"""What a GPU makes of a population: chunks x numbers x ways to convolve, beside PyTorch.

Every combination trains one chunk per device in a process of its own, one after another, since each
takes the device's memory for itself. Prints images per second over all members and the peak memory
of the device (of the process, where the device is a CPU). A combination that does not fit is
reported and left out. Without a GPU it runs on the CPU all the same, slowly.

  python bench/accelerator.py --model=resnet18 --batch=256
  python bench/accelerator.py --model=tinyvit --batch=256 --numbers=tf32,bfloat16 --json=rows.json
  python bench/accelerator.py --model=cnn --batch=64 --chunks=1,2 --steps=4 --turns=1   # a trial

PyTorch trains one model after another (float32 and tf32 as such, bfloat16 by autocast); its speed
does not depend on the chunk. The rows' best line is what `population.chunk`, `population.compute`
and `model.lowering` should be on that device.
"""

import argparse
import itertools
import sys

import problems
import turns

CHUNKS, NUMBERS = "1,2,4,8,16,32", "float32,tf32,bfloat16"
LOWERINGS = "lax,taps,canonical,mixed,patches"
TORCH = "torch-eager-channels-last,torch-compile-channels-last"
HEADER = (
  f"{'program':<28}{'numbers':<10}{'lowering':<10}{'chunk':>6}{'images/s':>11}{'(range)':>22}"
  f"{'peak MiB':>10}"
)


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--model", default="resnet18", choices=sorted(problems.IMAGES))
  add("--batch", type=int, default=256, help="batch size (default 256)")
  add("--steps", type=int, default=20, help="steps per turn (default 20)")
  add("--chunks", default=CHUNKS, help=f"members in one vmap (default {CHUNKS})")
  add("--numbers", default=NUMBERS, help=f"what networks compute in (default {NUMBERS})")
  add("--lowerings", default=LOWERINGS, help=f"ways to convolve (default {LOWERINGS})")
  add("--torch", default=TORCH, help=f"PyTorch programs, or nothing (default {TORCH})")
  add("--chunk", type=int, default=1, help=argparse.SUPPRESS)
  add("--lowering", default="auto", help=argparse.SUPPRESS)
  return turns.arguments(parser)


def worker(args) -> None:
  """Run one combination: `args.numbers`, `args.chunk` and `args.lowering` hold one value each."""
  if args.worker != "jaxmu":
    import torch_programs

    args.members = 1
    turns.work(torch_programs.PROGRAMS[args.worker], args)
    return
  import jax
  import jax_programs

  precision = "tensorfloat32" if args.numbers == "tf32" else "float32"
  jax.config.update("jax_default_matmul_precision", precision)
  from jaxmu.engine import runtime

  runtime.configure()
  args.members = args.chunk * len(jax.devices())
  turns.work(jax_programs.jaxmu, args)


def measure(args, program: str, numbers: str, lowering: str, chunk: int) -> dict | None:
  """Measure one combination; None where it failed."""
  options = [f"--{n}={getattr(args, n)}" for n in ("model", "batch", "steps", "turns")]
  options += [f"--numbers={numbers}", f"--lowering={lowering}", f"--chunk={chunk}"]
  times = turns.measure(__file__, [program], options, args.turns).get(program)
  if not times:
    return None
  members = times[0]["members"]
  labels = {"model": args.model, "batch": args.batch, "members": members, "numbers": numbers}
  row = turns.row(
    times, args.steps * members, program=program, lowering=lowering, chunk=chunk, **labels
  )
  speed = lambda key: 1e3 * args.batch / row[key]
  row["images_per_second"] = speed("wall_ms_per_member")
  span = f"({speed('wall_ms_high'):.0f}-{speed('wall_ms_low'):.0f})"
  print(
    f"{program:<28}{numbers:<10}{lowering:<10}{chunk:>6}{row['images_per_second']:>11.0f}"
    f"{span:>22}{row['peak_bytes'] / 2**20:>10.0f}",
    flush=True,
  )
  return row


def main() -> None:
  args = parse()
  if args.worker:
    worker(args)
    return
  split = lambda text: [part for part in text.split(",") if part]
  torch = itertools.product(split(args.torch), split(args.numbers), ["stock"], [1])
  chunks = [int(chunk) for chunk in split(args.chunks)]
  mine = itertools.product(["jaxmu"], split(args.numbers), split(args.lowerings), chunks)
  print(f"{args.model}, batch {args.batch}, {args.steps} steps a turn")
  print(HEADER)
  rows = [row for each in (*torch, *mine) if (row := measure(args, *each))]
  for numbers in split(args.numbers):
    own = [row for row in rows if row["program"] == "jaxmu" and row["numbers"] == numbers]
    if own:
      best = max(own, key=lambda row: row["images_per_second"])
      print(f"best with {numbers}: lowering {best['lowering']}, chunk {best['chunk']}")
  turns.write_json(args.json, rows)


if __name__ == "__main__":
  sys.exit(main())
