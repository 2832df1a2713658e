"""Run the whole benchmark, or any part of it: cells, each with its search, and shadow models.

  python bin/benchmark.py --config=configs/matrix.py --plan --gpus=8,64
  python bin/benchmark.py --config=configs/matrix.py:small --workers=2
  python bin/benchmark.py --config=configs/matrix.py --part=cifar10_resnet18
  python bin/benchmark.py --config=configs/matrix.py --part=cifar10_resnet18/search --config.seeds=0

An override (--config.ENTRY=VALUE) goes to every part. The same command goes on where it stopped,
and any number of processes that run it share the work. Where benchmarks of several cells are done,
one report shows them together. Exit codes as those of bin/sweep.py.
"""

import functools

from jaxmu.command import cli, endings, run_matrix

main = run_matrix.main
flags = functools.partial(run_matrix.flags, __doc__)

if __name__ == "__main__":
  endings.leave(cli.run(main, flags()))
