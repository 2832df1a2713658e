"""Work through a study: what is missing is trained, by as many processes as there are."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from jaxmu.errors import (
  Busy,
  CheckpointError,
  NeedMissing,
  SettingsError,
  StoreError,
  UserError,
  closest,
)
from jaxmu.execution.progress import StudyProgress
from jaxmu.store import attempts, borrowing, unit_attempts
from jaxmu.store.groups import Expected, text
from jaxmu.store.record import Record
from jaxmu.studies import units
from jaxmu.studies.identity import Identities
from jaxmu.studies.study import NotKnown, Row, Stage, Stages, known
from jaxmu.studies.units import Unit
from jaxmu.studies.waiting import PAUSE, comes
from jaxmu.studies.work import TooLarge


class Driver:
  """Finishes the stages of a study, together with other processes on the same record.

  A unit is worked by whoever holds its lock; where there are no locks, units may be worked twice,
  and the first result counts.
  """

  def __init__(
    self,
    record: Record,
    identities: Identities,
    work: Callable[[Unit], None],
    *,
    most: int = units.LARGEST,
    say: Callable[[str], None] = print,
    log: Callable[[Mapping[str, Any]], None] = lambda event: None,
    announce: Callable[[Sequence[Unit]], None] = lambda units: None,
    progress: StudyProgress[Unit] | None = None,
  ):
    self.record, self.identities, self.work = record, identities, work
    self.most, self.say, self.log = most, say, log
    self.announce, self.progress = announce, progress
    self.stages: list[Stage] = []
    self.expected: dict[str, tuple[Expected, ...]] = {}
    self._whole: set[str] = set()
    self._kinds: dict[str, units.Kinds] = {}
    record.expected = {}  # what is asked for now: what was before may be less, or other
    self._absent: dict[str, set[str]] = {}  # members without numbers when last looked at

  def run(self, stages: Stages) -> tuple[Stage, ...]:
    """Finish all stages; return them."""
    self.add_all(stages, self._rows)
    self._finish()
    self.record.sweep()
    return tuple(self.stages)

  def run_one(self, stages: Stages, key: str, patience: float | None = None) -> None:
    """Work exactly one unit, "stage/name" as a plan lists it; done before is done.

    Raises:
      SettingsError: there is no such unit.
      NeedMissing: the models that it starts from, or results that it depends on, are not there.
      Busy: another process works on it.
      UserError: it crashed several times in a row and got no further.
    """
    unfinished: list[str] = []
    self.add_all(stages, lambda stage: self._rows_that_are_there(stage, unfinished))
    name, _, group = key.partition("/")
    if self.record.has(name, group):
      self.say(f"{key}: done before")
      return
    found = {unit.key: unit for stage in self.stages for unit in self.units(stage)}
    if key not in found and unfinished:
      raise NeedMissing(
        f"there is no unit '{key}' yet: what comes after stage '{unfinished[0]}' depends on it, "
        "and it is not finished; work its units first"
      )
    if key not in found:
      rest = closest(key, found) if found else "all units are done"
      raise SettingsError(f"there is no unit '{key}' to do; {rest}")
    self._work_alone(found[key], patience)

  def run_chosen(
    self,
    stages: Stages,
    chosen: Callable[[Stage], Collection[int]],
    names: Collection[str] = (),
    patience: float | None = None,
  ) -> None:
    """Work chosen members of stages; what they start from and depend on must be there.

    Args:
      chosen: gives the positions of members of a stage; none for stages of others.
      names: of the stages of which some are chosen; empty where nobody knows them beforehand.
      patience: as of `waiting.comes`.

    Raises:
      NeedMissing: it is not.
      Busy: another process works on one of their units.
      UserError: one of them crashed several times in a row and got no further.
      In all cases what else is chosen, and can be worked, is done.
    """

    def rows(stage: Stage) -> list[Row]:
      self._work(chosen, patience)
      if names and set(names) <= {each.name for each in self.stages}:
        raise NotKnown(stage.name)  # what comes after does not matter here
      if not comes(lambda: not self.record.missing(stage.name), patience):
        raise NeedMissing(
          f"stage '{stage.name}' is not finished, and what comes after depends on it; work it first"
        )
      return self.record.rows(stage.name)

    for stage in known(stages, rows):
      self._add(stage, borrows=False)
    self._work(chosen, patience)

  def require(self, stages: Stages) -> tuple[Stage, ...]:
    """Return all stages, which must be finished.

    Raises:
      NeedMissing: they are not.
    """
    self.add_all(stages, lambda stage: self._rows_that_are_there(stage, []))
    missing = {stage.name: len(self.record.missing(stage.name)) for stage in self.stages}
    if absent := [f"{count} of {name}" for name, count in missing.items() if count]:
      raise NeedMissing(
        f"{self.record.path} lacks models ({', '.join(absent)}); submit again, or run the study, "
        "to make them"
      )
    self.record.sweep()
    return tuple(self.stages)

  def _work(self, chosen: Callable[[Stage], Collection[int]], patience: float | None) -> None:
    """Work what is missing of the chosen members of the stages so far."""
    refused: dict[str, UserError] = {}
    for stage in self.stages:
      wanted = chosen(stage)  # looked at again, as a unit may have been divided
      while left := [u for u in self.units(stage, wanted) if wanted and u.key not in refused]:
        self.announce(left[1:])
        for unit in left:
          try:
            self._work_alone(unit, 0.0 if refused else patience)
          except UserError as error:
            refused[unit.key] = error
    for error in sorted(refused.values(), key=lambda error: not isinstance(error, Busy)):
      raise error  # where it helps to come again, that

  def _work_alone(self, unit: Unit, patience: float | None) -> None:
    """Work a unit for which nobody else steps in."""
    if not comes(lambda: self._ready(unit), patience):
      raise NeedMissing(
        f"{unit.key} starts from models of stage '{unit.stage.parent}', which are not finished; "
        "work those units first"
      )
    if not self._try(unit, alone=True):
      raise Busy(f"another process works on {unit.key}; come again when it has ended")

  def add_all(self, stages: Stages, rows: Callable[[Stage], list[Row]]) -> None:
    """Add the stages that a study yields; each is answered by its `rows`, made when looked at."""
    for stage in known(stages, rows):
      self._add(stage)
    self.record.write_expected()

  def units(self, stage: Stage, wanted: Collection[int] | None = None) -> list[Unit]:
    """Return the units of a stage that are not finished; of `wanted` members, if given."""
    size = min(self.record.size(stage.name) or self.most, self.most)
    missing = [k for k in self.record.missing(stage.name) if wanted is None or k in wanted]
    return units.divide(stage, self.expected[stage.name], missing, size, self._kinds[stage.name])

  def _add(self, stage: Stage, borrows: bool = True) -> None:
    if stage.name in self.expected:
      raise UserError(f"a study has two stages '{stage.name}'")
    self.stages.append(stage)
    self._kinds[stage.name] = units.kinds(stage)
    self.expected[stage.name] = self.identities.add(stage)
    self.record.expect(stage.name, self.expected[stage.name])
    lent = borrowing.borrow(self.record, stage.name) if borrows else {}
    for lender, members in lent.items():
      self.say(f"{stage.name}: {members} members taken over from {lender}")
      self.log({"event": "borrowed", "stage": stage.name, "members": members, "from": lender})
    if not self.record.missing(stage.name):
      self._whole.add(stage.name)
      self.say(f"{stage.name}: done before")

  def _rows(self, stage: Stage) -> list[Row]:
    self.record.write_expected()
    self._finish()
    return self.record.rows(stage.name)

  def _rows_that_are_there(self, stage: Stage, unfinished: list[str]) -> list[Row]:
    """Return a stage's rows, or end the stages here and note which one is not finished."""
    if self.record.missing(stage.name):
      unfinished.append(stage.name)
      raise NotKnown(stage.name)
    return self.record.rows(stage.name)

  def _finish(self) -> None:
    """Work until no unit of the stages so far is missing."""
    waiting = False
    while left := self._all_left():
      self.announce(left[1:])
      if any([self._try(unit) for unit in left if self._ready(unit)]):
        waiting = False
        continue
      if not waiting:
        self.say(f"waiting for {len(left)} units that other processes work on")
        waiting = True
      time.sleep(PAUSE)

  def _all_left(self) -> list[Unit]:
    return [unit for stage in self.stages for unit in self._left(stage)]

  def _left(self, stage: Stage) -> list[Unit]:
    if stage.name in self._whole:
      return []
    left = self.units(stage)
    if not left:
      self._whole.add(stage.name)
      for name in stage.earlier[-1:]:
        self.record.clear_states(name)
    return left

  def _ready(self, unit: Unit) -> bool:
    """Tell whether the models are there from which a unit starts."""
    parent = unit.stage.parent
    if parent is None or parent in self._whole:
      return True
    needed = {text(member.parent or {}) for member in unit.members}
    # Looked up anew only for what was absent before: every look reads a folder of all units.
    if needed & self._absent.get(parent, needed):
      expected = self.expected[parent]
      self._absent[parent] = {text(expected[k].at) for k in self.record.missing(parent)}
    return not needed & self._absent[parent]

  def _try(self, unit: Unit, alone: bool = False) -> bool:
    """Work a unit unless another process does; tell whether it is finished now.

    Args:
      alone: it was asked for by name, so one that crashes time after time is refused.
    """
    stage, name = unit.stage.name, unit.name
    if self.record.has(stage, name):
      return True
    legs = self.record.legs(stage, name)
    with attempts.lock(legs / ".lock") as mine:
      if not mine:
        return False
      if self.record.has(stage, name) or 0 < self.record.size(stage) < len(unit.members):
        return True  # done, or meanwhile known not to fit: to be divided anew
      if alone:
        unit_attempts.refuse_hopeless(legs, unit.key)
      event = {"stage": stage, "unit": name, "members": len(unit.members)}
      self.log({"event": "start"} | event)
      with unit_attempts.noted(legs, [member.at for member in unit.expected]):
        if not self._worked(unit):
          return True
      self.log({"event": "done"} | event)
    self.record.clear_legs(stage, name)
    if self.progress is not None:
      members = sum(len(each) for each in self.expected.values())
      self.progress.finished(unit, self._all_left, members)
    return True

  def _worked(self, unit: Unit) -> bool:
    """Work a unit; False where it does not fit, and is divided."""
    try:
      self.work(unit)
    except TooLarge as found:
      self._divide(unit, found)
      return False
    except (StoreError, CheckpointError):
      if not self.record.has(unit.stage.name, unit.name):
        raise  # else another process was first (here are no locks), and cleared what we write
    return True

  def _divide(self, unit: Unit, found: TooLarge) -> None:
    """Remember for a stage that its units must be smaller."""
    if len(unit.members) < 2 or found.fitting < 1:
      raise UserError(
        f"{unit.stage.name}: not even one model fits into memory ({found}); use a smaller network "
        "or batch size, or a device with more memory"
      )
    self.say(f"{unit.stage.name}: {found}; {found.fitting} at once")
    self.record.remember_size(unit.stage.name, found.fitting)
    self.record.clear_legs(unit.stage.name, unit.name)  # its parts have names of their own
