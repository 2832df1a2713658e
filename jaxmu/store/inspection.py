"""What a run or one of its checkpoints holds, from metadata alone unless norms are asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import Run, checkpoint, typed_json
from jaxmu.store.records import ScoresRecord
from jaxmu.store.run import CONFIG

if TYPE_CHECKING:
  from rich.console import Console

PARAMS = ("params", "variables/params")  # in a final checkpoint, and in a leg
ACCURACIES = ("RA", "FA", "VA", "TA")


@dataclass(frozen=True)
class _Network:
  name: str


@dataclass(frozen=True)
class _Chosen:
  """What is shown of a run's config."""

  model: _Network


@dataclass(frozen=True)
class _Said:
  """What a checkpoint's metadata may say about the models in it."""

  stage: str = ""
  seeds: tuple[int, ...] = ()


def inspect(path: str | Path, norms: bool = False) -> dict[str, Any]:
  """Describe a run directory, or one checkpoint, as plain numbers, strings, lists and dicts.

  Args:
    path: a run directory, `state/<stage>` or `legs/<stage>/<leg>` inside one, or any checkpoint.
    norms: read the arrays too, and give L2 norms per member.

  Returns:
    `run` (path, name, seeds, data set and network; None outside a run), `stages` (of a run: name,
    done, failed members, and of a study the models that have scores) and `checkpoints` (path,
    stage, leg, seeds, metadata, members with their accuracies, leaves with shape, dtype and bytes).

  Raises:
    StoreError: neither a run nor a checkpoint.
    CheckpointError: a checkpoint is damaged.
  """
  path = Path(path).absolute()
  home = next((p for p in (path, *path.parents) if (p / "config.json").is_file()), None)
  run = Run.open(home) if home else None
  if path == home:
    about = _describe_run(run)
    found = [_describe(p, run, norms) for p in _checkpoints(run)]
    order = [stage["stage"] for stage in about["stages"]]
    found.sort(key=lambda c: order.index(c["stage"]) if c["stage"] in order else len(order))
    return about | {"checkpoints": found}
  if not path.exists():
    raise StoreError(f"{path} does not exist")
  if not checkpoint.exists(path):
    if home and path.relative_to(home).parts[0] in ("state", "legs"):
      raise CheckpointError(f"{path} is not a whole checkpoint (it has no {checkpoint.METADATA})")
    raise StoreError(f"{path} is neither a run (config.json) nor a checkpoint of one")
  about = _describe_run(run) if run else {"run": None}
  return about | {"stages": [], "checkpoints": [_describe(path, run, norms)]}


def _checkpoints(run: Run) -> list[Path]:
  return [*sorted(run.path.glob("state/[!.]*")), *sorted(run.path.glob("legs/*/[!.]*"))]


def _describe_run(run: Run) -> dict[str, Any]:
  about = {
    "path": str(run.path),
    "name": run.path.name,
    "seeds": list(run.manifest.seeds),
    "dataset": run.manifest.dataset.name,
    "model": typed_json.parse(_Chosen, run.config, run.path / CONFIG).model.name,
  }
  planned = [*run.manifest.methods, *run.stages()]
  stages = []
  for stage in dict.fromkeys(planned):
    done, scores = run.done(stage), f"scores/{stage}.json"
    scored = run.record(ScoresRecord, scores) if (run.path / scores).is_file() else None
    failures = run.marker(stage).failures if done else scored.failures if scored else ()
    found = {"stage": stage, "done": done or bool(scored), "failed": sum(map(bool, failures))}
    stages.append(found | ({"models": len(scored.models)} if scored else {}))
  return {"run": about, "stages": stages}


def _describe(path: Path, run: Run | None, norms: bool) -> dict[str, Any]:
  """Describe one checkpoint."""
  metadata, leaves, _, sha256, _ = checkpoint.describe(path)
  leg = path.parent.parent.name == "legs"
  said = typed_json.parse(_Said, metadata, path / checkpoint.METADATA)
  stage = said.stage or (path.parent.name if leg else path.name)
  seeds = said.seeds or (run.manifest.seeds if run else ())
  table = [
    {"name": name, "shape": list(leaf.shape), "dtype": leaf.dtype, "bytes": leaf.nbytes}
    for name, leaf in sorted(leaves.items())
  ]
  found = {
    "path": str(path),
    "stage": stage,
    "leg": path.name if leg else None,
    "seeds": list(seeds),
    # Training curves of a leg are for resuming; hundreds of rows would hide the rest.
    "metadata": {key: value for key, value in metadata.items() if key != "curves"},
    "members": [] if leg else _accuracies(run, stage),
    "leaves": table,
    "bytes": sum(leaf["bytes"] for leaf in table),
    "parameters": _parameters(leaves),
    "sha256": sha256,
  }
  return found | (_norms(path, table) if norms else {})


def _accuracies(run: Run | None, stage: str) -> list[dict[str, Any]]:
  """Return seed, finite and the accuracies of each member, where the run has rows already."""
  if run is None or not (run.path / "rows.parquet").exists():
    return []
  rows = run.rows()
  rows = rows[rows["method"] == stage]
  columns = [c for c in ("seed", "finite", *ACCURACIES) if c in rows]
  return [
    {key: _json_number(value) for key, value in row.items()}
    for row in rows[columns].to_dict("records")
  ]


def _json_number(value: Any) -> Any:
  """Return None for NaN and infinities, which JSON does not know."""
  return None if isinstance(value, float) and not math.isfinite(value) else value


def _parameters(leaves: Mapping[str, checkpoint.Leaf]) -> int:
  """Count the trainable parameters of one member."""
  return sum(math.prod(leaf.shape[1:]) for name, leaf in leaves.items() if _is_parameter(name))


def _is_parameter(name: str) -> bool:
  return name.startswith(tuple(f"{prefix}/" for prefix in PARAMS))


def _norms(path: Path, table: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Read the arrays; add each leaf's norms to the table and return those of whole members."""
  tree, _ = checkpoint.load(path)
  squares: list[np.ndarray] = []
  for leaf in table:
    array = tree
    for key in leaf["name"].split("/"):
      array = array[key]
    # Keys, counters and flags have no meaningful norm.
    if array.ndim and array.dtype.kind in "fV":  # V: bfloat16 and its kin
      square = np.square(array.reshape(len(array), -1).astype(np.float64)).sum(1)
      leaf["norms"] = [_json_number(float(x)) for x in np.sqrt(square)]
      squares += [square] if _is_parameter(leaf["name"]) else []
  total = np.sqrt(np.sum(squares, 0)) if squares else np.zeros(0)
  return {"norms": [_json_number(float(x)) for x in total]}


def render(about: Mapping[str, Any], console: "Console") -> None:
  """Print what `inspect` found as tables on a rich console."""
  run = about["run"]
  if run:
    seeds = ", ".join(map(str, run["seeds"]))
    console.print(f"run {run['name']}: {run['dataset']}, {run['model']}, seeds {seeds}")
  if about["stages"]:
    _overview(about, console)
  shown: list[list] = []
  for found in about["checkpoints"]:
    if not about["stages"] or found["leg"] is not None:
      _header(found, console)
    _members(found, console)
    leaves = [(leaf["name"], leaf["shape"], leaf["dtype"]) for leaf in found["leaves"]]
    # All stages of a run hold the same tree: print it once, but norms for each.
    if leaves not in shown or "norms" in found:
      _tree(found, console)
      shown.append(leaves)


def size(count: float) -> str:
  """Write a number of bytes with a unit, in powers of 1000."""
  for unit in ("B", "kB", "MB"):
    if count < 1000:
      return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
    count /= 1000
  return f"{count:.1f} GB"


def _overview(about: Mapping[str, Any], console: "Console") -> None:
  state = {c["stage"]: c for c in about["checkpoints"] if c["leg"] is None}
  legs = {c["stage"]: c for c in about["checkpoints"] if c["leg"] is not None}
  rows = []
  for stage in about["stages"]:
    name = stage["stage"]
    found = state.get(name) or legs.get(name) or {}
    status = "done" if stage["done"] else "under way" if name in legs else "to do"
    members = str(stage.get("models") or (len(found["seeds"]) if found else "-"))
    failed = str(stage["failed"]) if stage["done"] else "-"
    steps = _progress(found["metadata"]) if found else "-"
    rows.append((name, status, members, failed, steps, size(found["bytes"]) if found else "-"))
  _table(console, "stages", ("stage", "status", "members", "failed", "progress", "bytes"), rows)


def _progress(metadata: Mapping[str, Any]) -> str:
  known = ("phase", "epoch", "epochs", "step", "steps")
  return ", ".join(f"{key} {metadata[key]}" for key in known if metadata.get(key) is not None)


def _header(found: Mapping[str, Any], console: "Console") -> None:
  leg = "final" if found["leg"] is None else f"leg {found['leg']}"
  console.print(
    f"{found['path']}\n{found['stage']} ({leg}): {len(found['seeds'])} members,"
    f" {found['parameters']:,} parameters each, {size(found['bytes'])}"
  )
  for key, value in found["metadata"].items():
    if key not in ("stage", "seeds"):
      console.print(f"  {key}: {value}")


def _members(found: Mapping[str, Any], console: "Console") -> None:
  norms = found.get("norms", [])
  members = found["members"] or [{"seed": seed} for seed in found["seeds"]] * bool(norms)
  if not members:
    return
  heads = [*members[0], *(["norm"] if norms else [])]
  rows = [
    [_cell(value) for value in (*member.values(), *norms[k : k + 1])]
    for k, member in enumerate(members)
  ]
  _table(console, f"members of {found['stage']}", heads, rows)


def _tree(found: Mapping[str, Any], console: "Console") -> None:
  heads = ["name", "shape", "dtype", "bytes"] + ["norms, min to max"] * ("norms" in found)
  rows = []
  for leaf in found["leaves"]:
    row = [leaf["name"], str(leaf["shape"]), leaf["dtype"], size(leaf["bytes"])]
    norms = [x for x in leaf.get("norms", []) if x is not None]
    if "norms" in found:
      row.append(f"{min(norms):.4g} to {max(norms):.4g}" if norms else "-")
    rows.append(row)
  rows.append(["total", "", "", size(found["bytes"])] + [""] * ("norms" in found))
  _table(console, f"arrays of {found['stage']} (first axis: members)", heads, rows)


def _cell(value: Any) -> str:
  if value is None:
    return "-"
  return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(
  console: "Console", title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
  from rich.table import Table

  table = Table(title=title, title_justify="left", box=None, pad_edge=False)
  for position, head in enumerate(heads):
    table.add_column(head, justify="right" if position else "left", overflow="fold")
  for row in rows:
    table.add_row(*row)
  console.print(table)
