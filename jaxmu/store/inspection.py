"""What a run or one of its checkpoints holds, from metadata alone unless norms are asked for."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import Run, checkpoint, typed_json
from jaxmu.store.groups import (
  MEMBERS,
  ROUND,
  VARIABLES,
  GroupRecord,
  folders,
  text,
  without_round,
)
from jaxmu.store.record import Record
from jaxmu.store.run import CONFIG
from jaxmu.store.unit_status import STALE

PARAMS = ("params", "variables/params")  # in a final checkpoint, and in a leg


@dataclass(frozen=True)
class _Network:
  name: str


@dataclass(frozen=True)
class _Chosen:
  """What is shown of a run's config."""

  model: _Network
  study: str


def inspect(path: str | Path, norms: bool = False) -> dict[str, Any]:
  """Describe a run directory, a finished group of it, or one checkpoint, as plain values.

  Args:
    path: a run directory, `stages/<stage>/<group>` inside one, or any checkpoint.
    norms: read the arrays too, and give L2 norms per member.

  Returns:
    `run` (path, name, study, data set and network; None outside a run), `stages` (of a run: name,
    members that the study asks for, members done, failed members, groups), `working` (units that
    processes work on: host, process, epoch, seconds since their last sign of life) and
    `checkpoints` (path, stage, leg, members with coordinates and what was measured, leaves with
    shape, dtype and bytes).

  Raises:
    StoreError: neither a run nor a checkpoint.
    CheckpointError: a checkpoint is damaged.
  """
  path = Path(path).absolute()
  home = next((p for p in (path, *path.parents) if (p / CONFIG).is_file()), None)
  if home is None or path != home:
    return _one(path, home, norms)
  run, record = Run.open(home), Record(home)
  in_rounds = {without_round(name) for name in record.expected if ROUND in name}
  methods = [name for name in run.manifest.methods if name not in in_rounds]
  stages = list(dict.fromkeys([*methods, *record.expected]))
  if not record.expected and any(record.groups(name) for name in stages):
    raise StoreError(f"{home / MEMBERS} does not exist; run the same command again to make it")
  found = [_describe(p, record, norms) for p in _checkpoints(record, stages)]
  return _about(run) | {
    "stages": [_stage(record, name) for name in stages],
    "working": _working(record),
    "checkpoints": found,
  }


def _one(path: Path, home: Path | None, norms: bool) -> dict[str, Any]:
  """Describe one group or checkpoint."""
  if not path.exists():
    raise StoreError(f"{path} does not exist")
  if checkpoint.exists(path / VARIABLES):
    path = path / VARIABLES
  if not checkpoint.exists(path):
    if home and path.relative_to(home).parts[0] in ("stages", "legs"):
      raise CheckpointError(f"{path} is not a whole checkpoint (it has no {checkpoint.METADATA})")
    raise StoreError(f"{path} is neither a run ({CONFIG}) nor a checkpoint of one")
  record = Record(home) if home else None
  about = _about(Run.open(home)) if home else {"run": None}
  return about | {"stages": [], "working": [], "checkpoints": [_describe(path, record, norms)]}


def _about(run: Run) -> dict[str, Any]:
  chosen = typed_json.parse(_Chosen, run.config, run.path / CONFIG)
  about = {
    "path": str(run.path),
    "name": run.path.name,
    "study": chosen.study,
    "seeds": list(run.manifest.seeds),
    "dataset": run.manifest.dataset.name,
    "model": chosen.model.name,
  }
  return {"run": about}


def _stage(record: Record, name: str) -> dict[str, Any]:
  expected = record.expected.get(name, ())
  done = len(expected) - len(record.missing(name))
  groups = record.groups(name)
  wanted = {member.identity for member in expected}
  failed = {m.identity for g in groups for m in g.members if m.failure and m.identity in wanted}
  return {
    "stage": name,
    "members": len(expected),
    "done": done,
    "failed": len(failed),
    "groups": [group.group for group in groups],
  }


def _working(record: Record) -> list[dict[str, Any]]:
  """List the units whose processes said something and did not finish yet."""
  now = time.time()
  return [
    {
      "unit": f"{stage}/{group}",
      "host": sign.host,
      "process": sign.process,
      "phase": sign.phase,
      "epoch": sign.epoch,
      "epochs": sign.epochs,
      "members": sign.members,
      "seconds_ago": round(max(now - sign.time, 0.0), 1),
      "stale": now - sign.time > max(STALE, 3 * sign.leg_seconds),
    }
    for stage, group, sign in record.signs_of_life()
  ]


def _checkpoints(record: Record, stages: Sequence[str]) -> list[Path]:
  """Return the weights that finished groups should have, and legs, in the order of the stages."""
  known = folders(record.path / "stages")
  kept = [
    record.folder(s, g.group) / VARIABLES for s in known for g in record.groups(s) if _keeps(g)
  ]
  legs = [leg for leg in record.path.glob("legs/*/*/[0-9]*") if checkpoint.exists(leg)]
  order = {name: k for k, name in enumerate(stages)}
  stage = lambda path: path.relative_to(record.path).parts[1]
  return sorted([*kept, *legs], key=lambda path: (order.get(stage(path), len(order)), str(path)))


def _keeps(group: GroupRecord) -> bool:
  return any(name.startswith(f"{VARIABLES}/") for name in group.files)


def _describe(path: Path, record: Record | None, norms: bool) -> dict[str, Any]:
  """Describe one checkpoint."""
  inside = path.relative_to(record.path).parts if record else ("", "", "", path.name)
  leg = inside[0] == "legs"
  group = None if record is None or leg else _group(record, *inside[1:3])
  if record is not None and group is not None:
    record.verify(group, f"{VARIABLES}/{checkpoint.METADATA}")
  metadata, leaves, _, sha256, _ = checkpoint.describe(path)
  table = [
    {"name": name, "shape": list(leaf.shape), "dtype": leaf.dtype, "bytes": leaf.nbytes}
    for name, leaf in sorted(leaves.items())
  ]
  found = {
    "path": str(path),
    "stage": inside[1] or metadata.get("stage", path.name),
    "leg": path.name if leg else None,
    # Training curves of a leg are for resuming; hundreds of rows would hide the rest.
    "metadata": {key: v for key, v in metadata.items() if key not in ("curves", "members")},
    "members": [] if group is None else _members(group),
    "leaves": table,
    "bytes": sum(leaf["bytes"] for leaf in table),
    "parameters": _parameters(leaves),
    "sha256": sha256,
  }
  if not norms:
    return found
  tree = checkpoint.load(path)[0] if record is None or group is None else record.load(group)
  return found | _norms(tree, table)


def _group(record: Record, stage: str, name: str) -> GroupRecord | None:
  return next((group for group in record.groups(stage) if group.group == name), None)


def _members(group: GroupRecord) -> list[dict[str, Any]]:
  """Return coordinates, whether it is finite, and what was measured of each member."""
  return [
    {"member": text(member.at), "finite": not member.failure}
    | {name: json_number(value) for name, value in member.row.items()}
    for member in group.members
  ]


def json_number(value: Any) -> Any:
  """Return None for NaN and infinities, which JSON does not know."""
  return None if isinstance(value, float) and not math.isfinite(value) else value


def _parameters(leaves: Mapping[str, checkpoint.Leaf]) -> int:
  """Count the trainable parameters of one member."""
  return sum(math.prod(leaf.shape[1:]) for name, leaf in leaves.items() if _is_parameter(name))


def _is_parameter(name: str) -> bool:
  return name.startswith(tuple(f"{prefix}/" for prefix in PARAMS))


def _norms(tree: Any, table: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Add each leaf's norms to the table and return those of whole members."""
  squares: list[np.ndarray] = []
  for leaf in table:
    array = tree
    for key in leaf["name"].split("/"):
      array = array[key]
    # Keys, counters and flags have no meaningful norm.
    if array.ndim and array.dtype.kind in "fV":  # V: bfloat16 and its kin
      square = np.square(array.reshape(len(array), -1).astype(np.float64)).sum(1)
      leaf["norms"] = [json_number(float(x)) for x in np.sqrt(square)]
      squares += [square] if _is_parameter(leaf["name"]) else []
  total = np.sqrt(np.sum(squares, 0)) if squares else np.zeros(0)
  return {"norms": [json_number(float(x)) for x in total]}
