"""What `store.inspection` found as tables on a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from rich.console import Console


def render(about: Mapping[str, Any], console: "Console") -> None:
  """Print what `inspect` found as tables on a rich console."""
  run = about["run"]
  if run:
    console.print(f"run {run['name']}: {run['study']} of {run['model']} on {run['dataset']}")
  if about["stages"]:
    _overview(about, console)
  if about["working"]:
    _working(about["working"], console)
  shown: list[list] = []
  for found in about["checkpoints"]:
    if not about["stages"] or found["leg"] is not None:
      _header(found, console)
    _members(found, console)
    leaves = [(leaf["name"], leaf["shape"][1:], leaf["dtype"]) for leaf in found["leaves"]]
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
  kept: dict[str, int] = {}
  for found in about["checkpoints"]:
    if found["leg"] is None:
      kept[found["stage"]] = kept.get(found["stage"], 0) + found["bytes"]
  working = {unit["unit"].partition("/")[0] for unit in about["working"]}
  rows = []
  for stage in about["stages"]:
    name, whole = stage["stage"], stage["done"] == stage["members"] > 0
    state = "done" if whole else "under way" if name in working or stage["done"] else "to do"
    members, groups = f"{stage['done']} of {stage['members']}", str(len(stage["groups"]))
    bytes_kept = size(kept[name]) if name in kept else "-"
    rows.append((name, state, members, str(stage["failed"]), groups, bytes_kept))
  _table(console, "stages", ("stage", "status", "members", "failed", "groups", "weights"), rows)


def _working(units: Sequence[Mapping[str, Any]], console: "Console") -> None:
  rows = [
    (
      unit["unit"],
      f"{unit['host']} {unit['process']}",
      f"{unit['phase']}: epoch {unit['epoch']} of {unit['epochs']}",
      str(unit["members"]),
      f"{unit['seconds_ago']:.0f} s ago" + (" (may be dead)" if unit["stale"] else ""),
    )
    for unit in units
  ]
  heads = ("unit", "process", "progress", "members", "last sign of life")
  _table(console, "units in work", heads, rows)


def _header(found: Mapping[str, Any], console: "Console") -> None:
  leg = "final" if found["leg"] is None else f"leg {found['leg']}"
  members = found["leaves"][0]["shape"][0] if found["leaves"] else 0
  console.print(
    f"{found['path']}\n{found['stage']} ({leg}): {members} members,"
    f" {found['parameters']:,} parameters each, {size(found['bytes'])}"
  )
  for key, value in found["metadata"].items():
    if key != "stage":
      console.print(f"  {key}: {value}")


def _members(found: Mapping[str, Any], console: "Console") -> None:
  norms = found.get("norms", [])
  members = found["members"] or [{"member": str(k)} for k in range(len(norms))]
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
