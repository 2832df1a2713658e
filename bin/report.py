"""Write the report of an existing run again, or put several on one page, without training.

  python bin/report.py checkpoints/cnn_digits-0123abcd
  python bin/report.py checkpoints/cnn_digits-0123abcd checkpoints/cnn_digits-4567ef01
  python bin/report.py checkpoints/cnn_digits-0123abcd --figures docs/figures
  python bin/report.py checkpoints/cnn_mnist-0123abcd checkpoints/cnn_cifar10-89abcdef --cells

Reads only what the run stored, and starts no accelerator.
"""

import functools

from jaxmu.command import cli, endings, make_report

main = make_report.main
flags = functools.partial(make_report.flags, __doc__)

if __name__ == "__main__":
  endings.leave(cli.run(main, flags()))
