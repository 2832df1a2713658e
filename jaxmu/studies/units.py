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
  stage: Stage, expected: Sequence[Expected], missing: Sequence[int], size: int
) -> list[Unit]:
  """Divide the missing members of a stage into units of at most `size`.

  The stage is cut into even blocks of members with equal static hyper-parameters, and a unit is
  what is missing in a block. So processes that ask at different times, when some units are
  finished, get the same ones.
  """
  absent, found = set(missing), []
  for kind, own in _kinds(stage).items():
    each = math.ceil(len(own) / math.ceil(len(own) / max(size, 1)))
    blocks = [own[k : k + each] for k in range(0, len(own), each)]
    left = [[k for k in block if k in absent] for block in blocks]
    room = max(map(len, left), default=0)
    room = max(room, min(stage.room, size))
    found += [_unit(stage, expected, block, room, kind) for block in left if block]
  return found


def _kinds(stage: Stage) -> dict[Kind, list[int]]:
  """Group the members of a stage by their static hyper-parameters, which a population shares."""
  static = sorted(stage.method.static)
  found: dict[Kind, list[int]] = {}
  known: tuple[Any, Kind] = None, ()  # most stages have one for all members
  for k, member in enumerate(stage.members):
    if member.hp is not known[0]:
      known = member.hp, tuple((name, member.hp.get(name)) for name in static)
    found.setdefault(known[1], []).append(k)
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
