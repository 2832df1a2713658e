"""Units of work: groups of a stage's missing members that are trained together."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxmu.settings import Settings
from jaxmu.store.groups import Expected
from jaxmu.studies.study import Member, Stage

LARGEST = 64  # members of a group, so that what is done is safe now and then
Kind = tuple[tuple[str, Any], ...]


class Kinds(NamedTuple):
  """Which members of a stage may share a population: those of equal static hyper-parameters.

  Attributes:
    of: the kind of every member, in the order of the stage.
    rank: its number among those of its kind.
    count: members of every kind.
  """

  of: list[Kind]
  rank: list[int]
  count: dict[Kind, int]


class Unit(NamedTuple):
  """Some members of a stage; its name is that of its folder.

  Attributes:
    members, expected: the same ones, in the order of the stage.
    room: places for members; units of one kind and of equal room share compiled programs.
    kind: the static hyper-parameters, which the members share.
  """

  stage: Stage
  name: str
  members: tuple[Member, ...]
  expected: tuple[Expected, ...]
  room: int
  kind: Kind = ()

  @property
  def key(self) -> str:
    """Stage and name, as `--unit` takes them."""
    return f"{self.stage.name}/{self.name}"

  @property
  def identity(self) -> str:
    """Hash of the identities of the members."""
    return _hash(self.expected)


def divide(
  stage: Stage,
  expected: Sequence[Expected],
  missing: Sequence[int],
  size: int,
  found: Kinds | None = None,
) -> list[Unit]:
  """Divide the missing members of a stage into units of at most `size`.

  The members of each kind are cut into even blocks, and a unit is what is missing in a block. So
  processes that ask at different times, when some units are finished, get the same ones.

  Args:
    found: the kinds of the stage, where they are known already.
  """
  of, rank, count = found or kinds(stage)
  each = {k: math.ceil(n / math.ceil(n / max(size, 1))) for k, n in count.items()}
  blocks: dict[tuple[Kind, int], list[int]] = {}
  for position in missing:
    kind = of[position]
    blocks.setdefault((kind, rank[position] // each[kind]), []).append(position)
  room = dict.fromkeys(count, min(stage.room, size))
  for (kind, _), block in blocks.items():
    room[kind] = max(room[kind], len(block))
  return [_unit(stage, expected, block, room[kind], kind) for (kind, _), block in blocks.items()]


def kinds(stage: Stage) -> Kinds:
  """Sort the members of a stage by what a population must share."""
  static, found = sorted(stage.method.static), Kinds([], [], {})
  hp, kind = None, ()  # most stages have the same for all members
  for member in stage.members:
    if member.hp is not hp:
      hp, kind = member.hp, tuple((name, member.hp.get(name)) for name in static)
    found.of.append(kind)
    found.rank.append(found.count.get(kind, 0))
    found.count[kind] = found.rank[-1] + 1
  return found


def most(settings: Settings) -> int:
  """Return how many members a unit may have."""
  asked = settings.population.members_at_once
  return LARGEST if asked == "auto" else min(int(asked), LARGEST)


def count(some: Sequence[Unit]) -> int:
  """Return how many members units have."""
  return sum(len(unit.members) for unit in some)


def _unit(
  stage: Stage, expected: Sequence[Expected], block: Sequence[int], room: int, kind: Kind
) -> Unit:
  own = tuple(expected[k] for k in block)
  return Unit(stage, _name(own), tuple(stage.members[k] for k in block), own, room, kind)


def _name(own: Sequence[Expected]) -> str:
  """Name a unit by its first and last member, and by a hash of who its members are."""
  ends = dict.fromkeys(".".join(map(str, member.at.values())) for member in (own[0], own[-1]))
  return "-".join((*ends, _hash(own)[:8]))


def _hash(own: Sequence[Expected]) -> str:
  return hashlib.sha256("".join(member.identity for member in own).encode()).hexdigest()
