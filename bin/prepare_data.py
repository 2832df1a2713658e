"""Download a data set and prepare it for reading without TensorFlow.

python bin/prepare_data.py cifar10 --data_dir=~/tensorflow_datasets

Needs a network and the `prepare` extra: pip install -e '.[prepare]'.
"""

import functools

from jaxmu.command import cli, endings, prepare_data

main = prepare_data.main
flags = functools.partial(prepare_data.flags, __doc__)

if __name__ == "__main__":
  endings.leave(cli.run(main, flags()))
