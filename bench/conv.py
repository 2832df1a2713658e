"""Time every way to compute each convolution of a network inside a compiled loop, on one CPU core.

Prints CPU milliseconds for forward pass and both gradients: the measurements behind
`jaxmu.kernels.conv.lowering`, whose choice is marked with a star.

Usage: python bench/conv.py [--model resnet18] [--image_size 32] [--channels 3] [--batch 64]
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
).strip()

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu import models
from jaxmu.kernels.conv import conv, lowering, recorded
from jaxmu.kernels.conv_passes import LOWERINGS

STEPS = 5
WAYS = ("lax", *LOWERINGS)


def convolutions(name, image_size, channels, batch):
  """Trace a network; return its distinct convolutions and their counts."""
  image = jax.ShapeDtypeStruct((batch, image_size, image_size, channels), jnp.float32)
  with recorded() as counts:
    jax.eval_shape(models.make(name, 10).init, jax.random.key(0), image)
  return {case: count for case, count in counts.items() if not case.depthwise}


def compile_loop(case, how, input_gradient):
  """Return a function that runs STEPS steps and gives the CPU milliseconds of one."""
  image, kernel, strides, padding = case
  x = jax.random.normal(jax.random.key(0), image)
  k = jax.random.normal(jax.random.key(1), kernel)

  def step(_, operands):
    x, k = operands
    y, pullback = jax.vjp(lambda x, k: conv(x, k, strides, padding, how), x, k)
    dx, dk = pullback(y)
    # An image needs no gradient: left unused, the stem's is removed by the compiler.
    return (x + 1e-9 * dx if input_gradient else x), k + 1e-9 * dk

  program = jax.jit(lambda *operands: lax.fori_loop(0, STEPS, step, operands))
  program = program.lower(x, k).compile()

  def run():
    start = time.process_time()
    jax.block_until_ready(program(x, k))
    return (time.process_time() - start) / STEPS * 1e3

  run()
  return run


def medians(runs, repeats):
  """Interleave the programs, so that a busy moment of the machine hits all of them."""
  times = {name: [] for name in runs}
  for _ in range(repeats):
    for name, run in runs.items():
      times[name].append(run())
  return {name: statistics.median(values) for name, values in times.items()}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="resnet18", choices=sorted(models.MODELS))
  parser.add_argument("--image_size", type=int, default=32)
  parser.add_argument("--channels", type=int, default=3)
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--repeats", type=int, default=5)
  options = parser.parse_args()
  cases = convolutions(options.model, options.image_size, options.channels, options.batch)
  print(f"{options.model}, batch {options.batch}, jax {jax.__version__}, CPU ms per step, * chosen")
  print(f"{'image':>16} {'kernel':>16} stride count " + " ".join(f"{way:>11}" for way in WAYS))
  for case, count in cases.items():
    image, kernel, strides, _ = case
    not_stem = kernel[2] != options.channels
    found = medians({w: compile_loop(case, w, not_stem) for w in WAYS}, options.repeats)
    chosen = lowering(*case, "cpu")
    cells = " ".join(f"{found[way]:10.2f}{'*' if way == chosen else ' '}" for way in WAYS)
    shape = lambda sizes: "x".join(map(str, sizes))
    print(f"{shape(image):>16} {shape(kernel):>16} {strides[0]:6} {count:5} {cells}", flush=True)


if __name__ == "__main__":
  main()
