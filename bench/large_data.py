"""Peak memory and time of unlearning from a file that is mapped to memory, small and large.

Writes random uint8 images of 32 x 32 x 3 with labels into a temporary folder, a tenth of them to be
forgotten, and unlearns them with every sample of the retain set visited once, as the file lies and,
where that is small, copied. "Extra" is the peak of the process's own memory (`RssAnon`; pages of
the file are the operating system's cache, and not counted) above what it used when jax was ready.

  python bench/large_data.py --gigabytes=0.4,4 --methods=ft,msg
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SHAPE = (32, 32, 3)
COPIED = 0.5  # GB up to which the copied run is measured as well
EVERY = 0.02  # seconds between two looks at the memory


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--gigabytes", default="0.4,4", help="sizes with commas (default 0.4,4)")
  parser.add_argument("--methods", default="ft,msg", help="names with commas (default ft,msg)")
  parser.add_argument("--batch", type=int, default=512, help="batch size (default 512)")
  parser.add_argument("--folder", help="where the files are written (default: TMPDIR)")
  parser.add_argument("--json", metavar="FILE", help="write the rows here")
  parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # file, method, memory limit
  return parser.parse_args()


def write(path: Path, gigabytes: float) -> int:
  """Write a file of random images; return how many."""
  count = int(gigabytes * 1e9 / np.prod(SHAPE))
  rng, whole = (
    np.random.default_rng(0),
    np.lib.format.open_memmap(path, "w+", "u1", (count, *SHAPE)),
  )
  for start in range(0, count, 50_000):
    block = whole[start : start + 50_000]
    block[:] = rng.integers(0, 256, block.shape, np.uint8)
  whole.flush()
  return count


class Peak:
  """The most that this process has of its own while the context lasts, in bytes."""

  def __enter__(self) -> "Peak":
    self.before = self.most = own_memory()
    self.over = threading.Event()
    self.thread = threading.Thread(target=self._watch)
    self.thread.start()
    return self

  def _watch(self) -> None:
    while not self.over.wait(EVERY):
      self.most = max(self.most, own_memory())

  def __exit__(self, *error) -> None:
    self.over.set()
    self.thread.join()

  @property
  def extra(self) -> int:
    return self.most - self.before


def own_memory() -> int:
  lines = Path("/proc/self/status").read_text().splitlines()
  return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def network(jax):
  """Return a network that costs little beside reading its samples, and fresh variables."""
  import flax.linen as nn

  from jaxmu.models.layers import Conv, Linear

  class Tiny(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.relu(Conv(8, size=4, stride=4)(x))
      return Linear(10)(x.reshape(len(x), -1))

  init = jax.jit(Tiny().init)
  return Tiny(), jax.block_until_ready(init(jax.random.key(0), jax.numpy.zeros((1, *SHAPE))))


def measure(path: str, method: str, limit: str, batch: int) -> dict:
  """Unlearn in this process; return peak and times."""
  import jax

  import jaxmu

  x = np.load(path, mmap_mode="r")
  y = np.random.default_rng(1).integers(0, 10, len(x))
  forget = np.arange(len(x)) % 10 == 0
  model, variables = network(jax)
  static = {"num_epochs": 1, "batch_size": batch, "learning_rate": 1e-3}
  how = {"mean": 0.5, "std": 0.25, "memory_limit": int(limit) if limit else None}
  with Peak() as peak:
    start = time.perf_counter()
    found = jaxmu.unlearn(
      method,
      model,
      variables,
      data=(x, y),
      retain=~forget,
      forget=forget,
      details=True,
      **how,
      **static,
    )
    wall = time.perf_counter() - start
  sums = [float(np.abs(leaf).sum(dtype="f8")) for leaf in jax.tree.leaves(found.variables)]
  row = {"method": method, "bytes": x.nbytes, "where": "copied" if int(limit or 0) else "file"}
  return row | {
    "extra": peak.extra,
    "wall": wall,
    "seconds": found.seconds,
    "compile": found.compile_seconds,
    "sum": sum(sums),
  }


def apart(path: Path, method: str, limit: str, args: argparse.Namespace) -> dict:
  """Measure in a process of its own."""
  own = [sys.executable, __file__, f"--batch={args.batch}", "--one", str(path), method, limit]
  return json.loads(subprocess.run(own, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
  args = parse()
  if args.one:
    print(json.dumps(measure(*args.one, args.batch)))
    return
  rows = []
  print("| method | GB | samples | extra MB | wall s | of it compiling | method's own s |")
  print("| :-- | --: | :-- | --: | --: | --: | --: |")
  with tempfile.TemporaryDirectory(dir=args.folder, prefix="jaxmu-") as folder:
    for gigabytes in map(float, args.gigabytes.split(",")):
      path = Path(folder) / "images.npy"
      write(path, gigabytes)
      limits = ["0", str(2**40)] if gigabytes <= COPIED else [""]
      for method in args.methods.split(","):
        for limit in limits:
          row = apart(path, method, limit, args)
          rows.append(row)
          print(
            f"| {method} | {row['bytes'] / 1e9:.1f} | {row['where']} | {row['extra'] / 1e6:.0f} | "
            f"{row['wall']:.1f} | {row['compile']:.1f} | {row['seconds']:.1f} |",
            flush=True,
          )
  if args.json:
    Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
  main()
