"""Studies whose members cost nothing: what is left is planning, dividing, committing, waiting."""

import dataclasses

import numpy as np

from jaxmu import data
from jaxmu.store.group_folders import Kept
from jaxmu.store.groups import Cost, Expected, GroupRecord, MemberRecord
from jaxmu.store.record import Record
from jaxmu.studies.driver import Driver
from jaxmu.studies.study import Member, Stage
from jaxmu.unlearning import get

SPLIT = data.fixed_split(100, 120)


def members(count, parent=False):
  """Return members with seeds from 0."""
  return tuple(
    Member({"seed": k}, SPLIT, {"rate": 0.5}, (k,), {"seed": k} if parent else None)
    for k in range(count)
  )


def stages(count, names=("original", "ft", "ga")):
  """Yield an original stage and methods that start from it."""
  for name in names:
    anchor = name == "original"
    keep = frozenset({"logits"})
    yield Stage(name, get(name), members(count, not anchor), None if anchor else "original", keep)


class Identities:
  """Identities that are the coordinates."""

  def __init__(self, version="1"):
    self.version = version

  def add(self, stage):
    return tuple(Expected(dict(m.at), f"{stage.name}/{m.at}/{self.version}") for m in stage.members)


@dataclasses.dataclass
class Work:
  """Commits a unit whose logits are its members' seeds; remembers which it did."""

  record: Record
  done: list = dataclasses.field(default_factory=list)

  def __call__(self, unit):
    seeds = [member.at["seed"] for member in unit.members]
    rows = tuple(
      MemberRecord(e.at, e.identity, "", 1.0, {"RA": e.at["seed"] / 1e6}) for e in unit.expected
    )
    marker = GroupRecord(unit.stage.name, unit.name, rows, Cost(len(seeds), 0.0), {})
    logits = np.array(seeds, np.float32)[:, None, None]
    if self.record.finish(marker, Kept(None, {}, logits, None, None)):
      self.done.append(unit.key)


def driver(path, work=None, *, most=2, say=lambda line: None, **options):
  """Return a driver on the record at `path`, and its work."""
  record = Record(path)
  work = Work(record) if work is None else work(record)
  return Driver(record, Identities(), work, most=most, say=say, **options), work
