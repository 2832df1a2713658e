"""The flags by which a plan also tells how long it takes on numbers of accelerators."""

from typing import NamedTuple

from jaxmu.command.cli import Parser
from jaxmu.errors import SettingsError, short
from jaxmu.settings.ranges import Range

START_SECONDS = 60.0
START, GPUS = Range(0, 1e6), Range(1, 1_000_000)


class Asked(NamedTuple):
  """Numbers of accelerators, none where nobody asked, and seconds that a job needs to start up."""

  gpus: tuple[int, ...]
  start: float


def add(parser: Parser) -> None:
  """Add the flags."""
  parser.add_argument(
    "--gpus",
    metavar="8,64",
    default="",
    help="with --plan: also how long what is left takes on these numbers of accelerators",
  )
  parser.add_argument(
    "--start-seconds",
    type=float,
    metavar="S",
    default=START_SECONDS,
    help=f"with --gpus: what a job needs to start up (default: {START_SECONDS:.0f})",
  )


def asked(gpus: str, start: float) -> Asked:
  """Read the flags.

  Raises:
    SettingsError: for what is no number of accelerators, or no time.
  """
  if not START.holds(start):
    raise SettingsError(f"--start-seconds is {start}; expected a number {START}")
  words = [word.strip() for word in gpus.split(",")] if gpus else []
  whole = [int(word) if word.isascii() and word.isdecimal() else 0 for word in words]
  if not all(GPUS.holds(number) for number in whole):
    raise SettingsError(f"--gpus={short(gpus)}: expected whole numbers {GPUS}, such as 8,64")
  return Asked(tuple(whole), start)
