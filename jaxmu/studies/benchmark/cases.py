"""Forget sets as members of a benchmark: coordinates, originals that several share, rounds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmu.data import Requested, Split
from jaxmu.store.groups import ROUND, At


class Case(NamedTuple):
  """A forget set of a seed.

  Attributes:
    seed, draw: whose, and its number among those of the seed.
    at: its coordinates; without "draw" where every seed has one forget set.
    origin: those of its original model. Forget sets of the same training samples share one.
    whole: the split that forgets all of it at once; its original model is the same.
    rounds: splits of what is forgotten one after the other.
  """

  seed: int
  draw: int
  at: At
  origin: At
  whole: Split
  rounds: tuple[Split, ...]

  def of_round(self, number: int) -> At:
    """Return the coordinates of a round's model, from 1; as `at` where there is only one."""
    return self.at if len(self.rounds) == 1 else {**self.at, "round": number}

  @property
  def key(self) -> tuple[int, ...]:
    """The seed of a method's random numbers."""
    return (self.seed, self.draw) if self.draw else (self.seed,)


def cases(asked: Sequence[Requested]) -> list[Case]:
  """Return the forget sets of all seeds, in their order."""
  several = any(one.draw for one in asked)
  sets: dict[int, bytes] = {}
  origins: dict[tuple[int, bytes], At] = {}
  found = []
  for one in asked:
    at = {"seed": one.seed, "draw": one.draw} if several else {"seed": one.seed}
    if id(one.whole) not in sets:
      sets[id(one.whole)] = np.sort(one.whole.train).tobytes()
    origin = origins.setdefault((one.seed, sets[id(one.whole)]), at)
    found.append(Case(one.seed, one.draw, at, origin, one.whole, one.rounds))
  return found


def rounds(found: Sequence[Case]) -> range:
  """Return the numbers of the rounds, from 1."""
  return range(1, len(found[0].rounds) + 1)


def stage_name(method: str, number: int, found: Sequence[Case]) -> str:
  """Name the stage of a method in a round: as the method where there is only one."""
  return method if len(rounds(found)) == 1 else f"{method}{ROUND}{number}"
