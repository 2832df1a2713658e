"""Units of work: groups of a stage's missing members that are trained together."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxmu.settings import Settings
from jaxmu.store.groups import Expected
from jaxmu.studies.study import Member, Stage

LARGEST = 64  # members of a group, so that what is done is safe now and then


class Unit(NamedTuple):
  """Some members of a stage; its name is that of its folder.

  Attributes:
    members, expected: the same ones, in the order of the stage.
    room: members of the largest unit of the stage; units of equal room share compiled programs.
  """

  stage: Stage
  name: str
  members: tuple[Member, ...]
  expected: tuple[Expected, ...]
  room: int

  @property
  def key(self) -> str:
    """Stage and name, as `--unit` takes them."""
    return f"{self.stage.name}/{self.name}"

  @property
  def identity(self) -> str:
    """Hash of the identities of the members."""
    return _hash(self.expected)


def divide(
  stage: Stage, expected: Sequence[Expected], missing: Sequence[int], size: int
) -> list[Unit]:
  """Divide the missing members of a stage into units of at most `size`.

  The stage is cut into even blocks, and a unit is what is missing in a block. So processes that ask
  at different times, when some units are finished, get the same ones.
  """
  each = math.ceil(len(expected) / math.ceil(len(expected) / max(size, 1)))
  blocks: dict[int, list[int]] = {}
  for position in missing:
    blocks.setdefault(position // each, []).append(position)
  room = max(map(len, blocks.values()), default=0)
  return [_unit(stage, expected, block, room) for block in blocks.values()]


def most(settings: Settings) -> int:
  """Return how many members a unit may have."""
  asked = settings.population.members_at_once
  return LARGEST if asked == "auto" else min(int(asked), LARGEST)


def count(some: Sequence[Unit]) -> int:
  """Return how many members units have."""
  return sum(len(unit.members) for unit in some)


def _unit(stage: Stage, expected: Sequence[Expected], block: Sequence[int], room: int) -> Unit:
  own = tuple(expected[k] for k in block)
  return Unit(stage, _name(own), tuple(stage.members[k] for k in block), own, room)


def _name(own: Sequence[Expected]) -> str:
  """Name a unit by its first and last member, and by a hash of who its members are."""
  ends = dict.fromkeys(".".join(map(str, member.at.values())) for member in (own[0], own[-1]))
  return "-".join((*ends, _hash(own)[:8]))


def _hash(own: Sequence[Expected]) -> str:
  return hashlib.sha256("".join(member.identity for member in own).encode()).hexdigest()
