"""How far runs are as tables for a terminal, and as JSON."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxmu.quantities import duration
from jaxmu.store import status
from jaxmu.store.status import RunStatus, StageStatus
from jaxmu.store.unit_status import RUNNING, STATES, UnitStatus

COUNTS = ("members", "done", "running", "stale", "failed", "waiting")
TIMES = {"gpu": "GPU time", "tpu": "TPU time", "cpu": "CPU time"}


def of_paths(paths: Sequence[str | Path]) -> list[RunStatus]:
  """Say how far runs are, and those in folders that hold some.

  Raises:
    StoreError: a path is neither, or a file is damaged.
  """
  found = dict.fromkeys(run for path in paths for run in status.runs_in(path))
  return [status.status(run) for run in found]


def render(runs: Sequence[RunStatus]) -> str:
  """Return a table of the stages of one run, or of several runs, and what is being worked on."""
  total = _total(runs)
  if len(runs) == 1:
    (run,) = runs
    lines = [f"run {run.name}: {total.done} of {total.members} members done"]
    lines += _table("stage", [*run.stages, total])
  else:
    lines = [f"{len(runs)} runs: {total.done} of {total.members} members done"]
    lines += _table("run", [*(status.total(run.stages, run.name) for run in runs), total])
  units = [(run, unit) for run in runs for unit in run.units]
  states = [unit.state for _, unit in units]
  counts = [f"{states.count(state)} {state}" for state in STATES]
  lines += ["", f"units: {', '.join([f'{total.units} done', *counts])}", _time(runs, total)]
  lines += [*_units(units, len(runs) > 1), *_notes(runs, total)]
  return "\n".join(lines)


def show(paths: Sequence[str | Path], *, as_json: bool = False) -> None:
  """Print how far runs are.

  Raises:
    StoreError: as `of_paths`.
  """
  runs = of_paths(paths)
  print(json.dumps(to_dict(runs), indent=1) if as_json else render(runs))


def to_dict(runs: Sequence[RunStatus]) -> dict[str, Any]:
  """Return the same as JSON-ready values."""
  each = [dataclasses.asdict(run) | {"total": dataclasses.asdict(run.total())} for run in runs]
  return {"runs": each, "total": dataclasses.asdict(_total(runs))}


def _total(runs: Sequence[RunStatus]) -> StageStatus:
  return status.total([stage for run in runs for stage in run.stages], "total")


def _table(first: str, stages: Sequence[StageStatus]) -> list[str]:
  heads = [first, *COUNTS, "non-finite", "units done", "spent", "left"]
  rows = [
    [
      each.stage,
      *(str(getattr(each, name)) for name in COUNTS),
      str(each.non_finite),
      str(each.units),
      duration(each.spent),
      _left(each),
    ]
    for each in stages
  ]
  return _columns([heads, *rows])


def _left(each: StageStatus) -> str:
  if each.done == each.members:
    return "done" if each.members else "-"
  return "?" if each.left is None else duration(each.left)


def _time(runs: Sequence[RunStatus], total: StageStatus) -> str:
  """Say how much time of devices was spent, and is left."""
  platforms = {run.platform for run in runs}
  word = TIMES.get(platforms.pop(), "time") if len(platforms) == 1 else "time of devices"
  said = f"{word}: {duration(total.spent)} spent"
  open_ = [stage for run in runs for stage in run.stages if stage.done < stage.members]
  unknown = list(dict.fromkeys(stage.stage for stage in open_ if stage.left is None))
  if not open_:
    return said
  if total.left is None or len(unknown) == len(open_):
    return f"{said}; what is left is known once a unit of each method is finished"
  said += f", about {duration(total.left)} left"
  busy = sum(max(run.devices, 1.0) for run in runs for u in run.units if u.state == RUNNING)
  if busy:
    said += f" ({duration(total.left / busy)} with what runs now)"
  if unknown:
    named = ", ".join(unknown[:4]) + (", ..." if len(unknown) > 4 else "")
    said += f", without {named}, of which no unit is finished"
  return said


def _units(units: Sequence[tuple[RunStatus, UnitStatus]], named: bool) -> list[str]:
  """Return a table of the units that were begun, and below it why some failed."""
  if not units:
    return []
  name = lambda run, unit: f"{run.name}/{unit.unit}" if named else unit.unit
  heads = ["unit", "state", "process", "progress", "members", "attempts", "last sign of life"]
  rows = [
    [
      name(run, unit),
      unit.state + (" (may be dead)" if unit.state == "stale" else ""),
      f"{unit.host} {unit.process}" + (f", job {unit.job}" if unit.job else ""),
      f"{unit.phase}: epoch {unit.epoch} of {unit.epochs}" if unit.epochs else "no epoch yet",
      str(unit.members),
      str(unit.attempts or "-"),
      f"{duration(unit.seconds_ago)} ago",
    ]
    for run, unit in units
  ]
  errors = [
    f"{name(run, unit)} failed in attempt {unit.attempts}: {unit.error}"
    for run, unit in units
    if unit.state == "failed"
  ]
  return ["", *_columns([heads, *rows]), *errors]


def _notes(runs: Sequence[RunStatus], total: StageStatus) -> list[str]:
  """Say what to do, or to expect."""
  notes = []
  if total.done < total.members and not any(u.state == RUNNING for r in runs for u in r.units):
    notes.append("no process works on it; run the same command again to go on")
  open_ = [run for run in runs if not run.finished and run.stages]
  if any(run.study == "search" for run in open_):
    notes.append("a search asks for more members once it has seen what these achieved")
  unwritten = [run.name for run in open_ if run.study != "search" and _whole(run)]
  if unwritten:
    notes.append(f"tables and report are still to be written of {', '.join(unwritten)}")
  return notes


def _whole(run: RunStatus) -> bool:
  return all(stage.done == stage.members for stage in run.stages)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
  """Align columns, the first one to the left."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  return [
    "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
    for row in rows
  ]
