"""Run a study: train, unlearn, attack and report populations of models.

The config says which: the benchmark, or a U-LiRA study of shadow models (config.study).

  python bin/sweep.py --config=configs/cnn_digits.py
  python bin/sweep.py --config=configs/resnet18_cifar10.py:mini --config.methods=msg,ct
  python bin/sweep.py --config=configs/resnet18_cifar10.py --plan
  python bin/sweep.py --config=configs/ulira_digits.py --config.ulira.splits=64 --workers=2

Running the same command again continues where it stopped; several processes that run it at once
share the work. Exit codes: 0 done, 2 a mistake in what was asked, 69 a unit lacks what it starts
from, 75 stopped or held elsewhere (come again), 130 Ctrl-C.
"""

import functools

from jaxmu.command import cli, endings, run_study

main = run_study.main
flags = functools.partial(run_study.flags, __doc__)

if __name__ == "__main__":
  endings.leave(cli.run(main, flags()))
