"""Draw the house: the rooms of the package, what each is for, and which imports which.

  python bench/house.py

Writes picture and table into docs/architecture.md, between its markers. Everything in them is read:
the order of the rooms from the contract in pyproject.toml, the arrows from the imports, and the
sentences from the first lines of the rooms' docstrings. Needs the `dev` extra.
"""

import ast
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- house:begin -->\n", "<!-- house:end -->"
DEVICES = {"jax", "jaxlib", "flax", "optax"}  # packages that compute on devices
Arrows = dict[str, set[str]]


def rooms() -> list[str]:
  """Return the rooms from top to bottom, as the contract on imports lists them."""
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
  return [room.strip().removeprefix("jaxmu.") for layer in layers for room in layer.split(":")]


DOOR = "__main__"  # `python -m jaxmu`, in front of all rooms


def imports() -> tuple[Arrows, set[str]]:
  """Return room -> rooms that it imports, and the rooms that import a package of `DEVICES`.

  Raises:
    ValueError: the contract does not list the rooms that there are.
  """
  options = {"include_external_packages": True, "exclude_type_checking_imports": True}
  graph = grimp.build_graph("jaxmu", cache_dir=None, **options)
  children = {name.split(".")[1] for name in graph.find_children("jaxmu")} - {DOOR}
  found: Arrows = {name: set() for name in children}
  if found.keys() != set(rooms()):
    raise ValueError(f"rooms are {sorted(found)}, but the contract lists {sorted(rooms())}")
  devices = set()
  for module in graph.modules:
    room = _room(module)
    for target in graph.find_modules_directly_imported_by(module) if room else ():
      if target in DEVICES:
        devices.add(room)
      elif _room(target) and _room(target) != room:
        found[room].add(_room(target))
  return found, devices


def _room(module: str) -> str:
  """Return the room of a module; "" for what is in none."""
  package, _, rest = module.partition(".")
  room = rest.partition(".")[0] if package == "jaxmu" else ""
  return "" if room == DOOR else room


def shortest(arrows: Arrows) -> Arrows:
  """Leave out every arrow whose end is reached along others."""
  kept = {room: set(targets) for room, targets in arrows.items()}
  for room in sorted(kept):
    for target in sorted(kept[room]):
      kept[room].remove(target)
      if target not in _reached(kept, room):
        kept[room].add(target)
  return kept


def _reached(arrows: Arrows, room: str) -> set[str]:
  found, ahead = set(), [room]
  while ahead:
    new = arrows[ahead.pop()] - found
    found |= new
    ahead += new
  return found


def picture(arrows: Arrows, devices: set[str]) -> str:
  """Return the rooms as a Mermaid chart."""
  order, kept = rooms(), shortest(arrows)
  inside = lambda targets: sorted(targets, key=order.index)
  lines = [f"  {room} --> {target}" for room in order for target in inside(kept[room])]
  dark = ",".join(room for room in order if room in devices)
  style = ["  classDef devices fill:#dce6f5,stroke:#4a6fa5,color:#111", f"  class {dark} devices"]
  return "\n".join(["```mermaid", "flowchart TD", *lines, *style, "```"])


def table(arrows: Arrows) -> str:
  """Return a line a room: what it is for, and all that it imports."""
  order = rooms()
  lines = ["| room | what it is for | imports |", "|---|---|---|"]
  for room in order:
    names = ", ".join(f"`{name}`" for name in order if name in arrows[room]) or "no other"
    lines.append(f"| `{room}` | {sentence(room)} | {names} |")
  return "\n".join(lines)


def sentence(room: str) -> str:
  """Return the first line of a room's docstring."""
  path = ROOT / "jaxmu" / room
  path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
  said = ast.get_docstring(ast.parse(path.read_text())) or ""
  return said.splitlines()[0].rstrip(".:")


def house() -> str:
  """Return what stands between the markers of the page."""
  arrows, devices = imports()
  return f"{picture(arrows, devices)}\n\n{table(arrows)}\n"


def main() -> None:
  before, rest = PAGE.read_text().split(BEGIN)
  _, after = rest.split(END)
  PAGE.write_text(f"{before}{BEGIN}{house()}{END}{after}")


if __name__ == "__main__":
  main()
