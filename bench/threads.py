"""Which operations of one member use more than one core: why a population of one is slower.

Runs single operations of ResNet-18 at 32 pixels inside a compiled loop, with nothing beside them,
and prints wall and CPU milliseconds of each: where they are equal, XLA uses one thread.

  python bench/threads.py --batch=64

`one_member.py` sets whole passes of one member against those of one per core.
"""

import argparse
import sys
import time


def operations(batch):
  """Return name -> (function, shapes of its operands); each gives an array like the first."""
  import jax.numpy as jnp
  from jax import lax

  layout = ("NHWC", "HWIO", "NHWC")
  same = lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=layout)
  strided = lambda x, k: lax.conv_general_dilated(
    x, k, (2, 2), ((3, 3), (3, 3)), dimension_numbers=layout
  )
  keep = lambda x, y: x + 1e-9 * jnp.sum(y)
  return {
    "convolution 8x8x64, 64 outputs": (same, ((batch, 8, 8, 64), (3, 3, 64, 64))),
    "convolution 4x4x128, 128 outputs": (same, ((batch, 4, 4, 128), (3, 3, 128, 128))),
    "stem 7x7/2, 64 outputs": (
      lambda x, k: keep(x, strided(x, k)),
      ((batch, 32, 32, 3), (7, 7, 3, 64)),
    ),
    "36 products, 64 columns": (
      lambda v, u: jnp.einsum("pmc,pco->pmo", v, u),
      ((36, 4 * batch, 64), (36, 64, 64)),
    ),
    "36 products, 128 columns": (
      lambda v, u: jnp.einsum("pmc,pco->pmo", v, u),
      ((36, batch, 128), (36, 128, 128)),
    ),
    "product with 512 columns": (lambda x, w: x @ w, ((batch, 512), (512, 512))),
    "update of 2.4 M parameters": (lambda w, g: 0.9995 * w - 0.01 * g, ((9, 512, 512),) * 2),
  }


def measure(function, shapes, repeats=5, loops=20) -> tuple[float, float]:
  """Return the least wall and CPU milliseconds of one call."""
  import jax
  import jax.numpy as jnp
  from jax import lax

  operands = tuple(1e-3 * jnp.ones(shape) for shape in shapes)
  body = lambda _, held: (function(*held), *held[1:])
  program = jax.jit(lambda *held: lax.fori_loop(0, loops, body, held)).lower(*operands).compile()
  times = []
  for _ in range(repeats + 1):
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(program(*operands))
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
  return tuple(1e3 * value / loops for value in min(times[1:]))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  args = parser.parse_args()
  from jaxmu.engine import runtime

  runtime.configure()
  print(f"{'operation':<36}{'wall ms':>9}{'CPU ms':>9}{'cores':>7}")
  for name, (function, shapes) in operations(args.batch).items():
    wall, cpu = measure(function, shapes)
    print(f"{name:<36}{wall:>9.2f}{cpu:>9.2f}{cpu / wall:>7.2f}", flush=True)


if __name__ == "__main__":
  sys.exit(main())
