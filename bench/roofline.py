"""How far a training step is from what the machine can do.

Measures the peak of float32 matrix products and the bandwidth of memory, on all cores at once (one
single-threaded device each, as the engine uses them), and sets a network's training step against
them: its multiply-adds (those that meet real pixels, and all), the bytes that the optimizer must
move, and the time that follows from both.

  python bench/roofline.py --model=resnet18 --batch=64 --step_ms=60
"""

import argparse
import statistics
import sys
import time

import problems


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="resnet18", choices=sorted(problems.IMAGES))
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--step_ms", type=float, default=0, help="measured ms per step and member")
  return parser.parse_args()


def on_all_cores(function, operand, repeats=7) -> float:
  """Return the median seconds of one call on every device at the same time."""
  import jax

  from jaxmu.engine.population import Population

  population = Population(len(jax.devices()))
  program = population.map(lambda state, constant, shared: (function(state), ()))
  state = population.place(jax.tree.map(lambda x: x[None].repeat(population.size, 0), operand))
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(program(state, {}, {}))
    times.append(time.perf_counter() - start)
  return statistics.median(times[2:])


def peaks() -> tuple[float, float]:
  """Return FLOP/s of matrix products and bytes/s of a read-and-write sweep, of all cores."""
  import jax
  import jax.numpy as jnp
  import numpy as np
  from jax import lax

  devices, size, loops = len(jax.devices()), 1024, 6
  product = lambda a: lax.fori_loop(0, loops, lambda _, x: x @ a * 1e-3, a)
  seconds = on_all_cores(product, np.ones((size, size), np.float32))
  flops = devices * loops * 2 * size**3 / seconds
  numbers = np.ones((64 * 2**20,), np.float32)
  sweep = lambda x: lax.fori_loop(0, loops, lambda _, x: x * jnp.float32(1.0001) + 1, x)
  seconds = on_all_cores(sweep, numbers)
  return flops, devices * loops * 2 * numbers.nbytes / seconds


def main() -> None:
  args = parse()
  from jaxmu.engine import runtime

  runtime.configure()
  from jaxmu import models
  from jaxmu.models import cost

  module, (size, _, channels) = models.make(args.model, 10), problems.IMAGES[args.model]
  flops, bandwidth = peaks()
  print(f"matrix products: {flops / 1e9:.0f} GFLOP/s; memory: {bandwidth / 1e9:.1f} GB/s")
  weights = cost.parameter_count(module, size, channels)
  for kind, forward in (
    ("all taps", cost.forward_flops(module, size, channels)),
    ("taps on pixels", cost.live_flops(module, size, channels)),
  ):
    work = 3 * forward * args.batch  # the two gradients cost what the forward pass costs, each
    least = work / flops
    print(f"{kind}: {work / 1e9:.2f} GFLOP a step, at least {least * 1e3:.1f} ms per member")
    if args.step_ms:
      share = least * 1e3 / args.step_ms
      print(f"  a step of {args.step_ms:g} ms runs at {share:.0%} of the peak")
  moved = 5 * 4 * weights  # read gradient, momentum, parameter; write momentum, parameter
  print(f"optimizer: {moved / 1e6:.0f} MB a step, at least {moved / bandwidth * 1e3:.1f} ms")


if __name__ == "__main__":
  sys.exit(main())
