"""List the unlearning methods, or describe some of them in full (the same as `jaxmu methods`).

python bin/methods.py            one line per method
python bin/methods.py msg ct     hyper-parameters, search ranges, random draws, what to know
"""

import sys


def flags():
  """Return the parser of `jaxmu methods`, with this script's help."""
  from jaxmu.command import console

  return console.flags(__doc__)


def main(args):
  """Print the listing."""
  from jaxmu.command import console

  console.main(args)


if __name__ == "__main__":
  from jaxmu.command import cli

  sys.exit(cli.run(main, flags()))
