"""What modules import of the package is there, also where two changes met."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "jaxmu"


def module(path: Path) -> str:
  parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
  return ".".join(parts).removesuffix(".__init__")


TREES = {module(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def defined(body: list[ast.stmt]) -> set[str]:
  """Return the names that statements define, also those under an `if`, `try` or `with`."""
  found = set()
  for node in body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      found.add(node.name)
    elif isinstance(node, ast.Import | ast.ImportFrom):
      found |= {each.asname or each.name.partition(".")[0] for each in node.names}
    elif isinstance(node, ast.If | ast.Try | ast.With):
      found |= defined(node.body)
    else:
      names = (each for each in ast.walk(node) if isinstance(each, ast.Name))
      found |= {each.id for each in names if isinstance(each.ctx, ast.Store)}
  return found


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
  """Yield module and name of what a module imports of the package, itself or at first use."""
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "jaxmu":
      yield from ((node.module, each.name) for each in node.names)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "door":
      yield from ((where, name) for name, where in ast.literal_eval(node.args[1]).items())


def lacks(where: str, name: str, trees: dict[str, ast.Module]) -> bool:
  if f"{where}.{name}" in trees:
    return False
  if where not in trees:
    return True
  own = defined(trees[where].body)
  lazy = {n for _, n in imported(trees[where])} if "__getattr__" in own else set()
  itself = where.rpartition(".")[2] == name  # a door may open on a module
  return name not in own | lazy and not itself


@pytest.mark.parametrize("room", sorted({".".join(name.split(".")[:2]) for name in TREES}))
def test_what_is_imported_is_there(room):
  own = {name: tree for name, tree in TREES.items() if ".".join(name.split(".")[:2]) == room}
  pairs = [(one, *each) for one, tree in own.items() for each in imported(tree)]
  assert not [each for each in pairs if lacks(*each[1:], TREES)]


def test_what_is_not_there_is_seen():
  trees = {
    "jaxmu.a": ast.parse("from jaxmu.b import one, two\nif x:\n  three = 1"),
    "jaxmu.b": None,
  }
  trees["jaxmu.b"] = ast.parse("from jaxmu.c import one\nother: int = 2")
  assert list(imported(trees["jaxmu.a"])) == [("jaxmu.b", "one"), ("jaxmu.b", "two")]
  assert [lacks("jaxmu.b", name, trees) for name in ("one", "two", "other")] == [False, True, False]
  assert lacks("jaxmu.c", "one", trees) and not lacks("jaxmu.a", "three", trees)
