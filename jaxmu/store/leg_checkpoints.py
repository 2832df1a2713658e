"""Checkpoints of unfinished stages: the state after a leg, from which a killed run goes on."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxmu.store import checkpoint

if TYPE_CHECKING:
  from jaxmu.store.run import Run


class LegNumber(NamedTuple):
  """Which leg of a stage: its wave of members, phase and epoch, each from 0. Later ones are larger.

  Its folder is named `wave-phase-epoch`.
  """

  wave: int
  phase: int
  epoch: int

  def __str__(self) -> str:
    return "-".join(map(str, self))


def save(run: "Run", stage: str, number: LegNumber, tree: Any, metadata: Mapping[str, Any]) -> None:
  """Save the state after leg `number` of a stage, then remove the stage's older legs."""
  checkpoint.save(path(run, stage, number), tree, metadata)
  for other in _numbers(run, stage):
    if other != number:
      checkpoint.remove(path(run, stage, other))


def latest(
  run: "Run", stage: str, like: Any = None
) -> tuple[LegNumber, Any, dict[str, Any]] | None:
  """Return number, tree and metadata of the newest leg of a stage, or None if there is none."""
  numbers = _numbers(run, stage)
  return (numbers[-1], *checkpoint.load(path(run, stage, numbers[-1]), like)) if numbers else None


def clear(run: "Run", stage: str) -> None:
  """Remove all legs of a stage, once its final checkpoint is written."""
  checkpoint.remove(_folder(run, stage))


def path(run: "Run", stage: str, number: LegNumber) -> Path:
  """Return where a leg lies."""
  return _folder(run, stage) / str(number)


def _folder(run: "Run", stage: str) -> Path:
  return run.path / "legs" / stage


def _numbers(run: "Run", stage: str) -> list[LegNumber]:
  folder = _folder(run, stage)
  found = folder.iterdir() if folder.is_dir() else ()
  legs = [each for each in found if re.fullmatch(r"\d+-\d+-\d+", each.name)]
  return sorted(LegNumber(*map(int, leg.name.split("-"))) for leg in legs if checkpoint.exists(leg))
