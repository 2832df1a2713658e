"""The source behind a reference, hashed: what tells models of changed code from those before."""

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxmu.errors import SettingsError

INSTALLED = ("site-packages", "dist-packages")


class _Hashed(NamedTuple):
  module: ModuleType
  value: Any
  sha256: str


_hashed: dict[str, _Hashed] = {}


def source_sha256(reference: str) -> str:
  """Return the SHA-256 of the source behind what a reference names, which has been found.

  That is its module's file and those that it imports of the same package; of a module that is no
  installed one, those from its folder. Imports are read from the source, so that every process
  finds the same ones, and paths are relative to the folder.

  Raises:
    SettingsError: the module is not written in Python.
  """
  name, _, attribute = reference.partition(":")
  module = sys.modules[name]
  value, known = getattr(module, attribute), _hashed.get(reference)
  # What runs is the code of the time of import, so its file is read once for each import.
  if known is None or known.module is not module or known.value is not value:
    known = _hashed[reference] = _Hashed(module, value, _sha256(module))
  return known.sha256


def _sha256(module: ModuleType) -> str:
  origin = getattr(module, "__file__", None) or ""
  if not origin.endswith(".py"):
    raise SettingsError(
      f"module {module.__name__} has no Python source, by which models are told apart; expected a "
      "module in Python"
    )
  # Not resolved: a link's target may lie in other folders than its name says.
  parts, path = module.__name__.split("."), Path(origin).absolute()
  root = path.parents[len(parts) - (path.name != "__init__.py")]
  digest, found = hashlib.sha256(), sorted(_sources(root, module.__name__))
  if not found:
    raise SettingsError(f"module {module.__name__} does not lie where its name says: {origin}")
  for name, content in found:
    digest.update(f"{name}\n{len(content)}\n".encode() + content)
  return digest.hexdigest()


def _sources(root: Path, first: str) -> Iterator[tuple[str, bytes]]:
  """Yield the files below a folder that a module is made of: relative path, and content."""
  top, own = first.partition(".")[0], root.name not in INSTALLED
  waiting, seen = [first], set[Path]()
  while waiting:
    dotted = waiting.pop()
    package = dotted.partition(".")[0]
    if package == "jaxmu" != top or not (own or package == top):
      continue
    for path, name in _located(root, dotted):
      if path not in seen:
        seen.add(path)
        content = path.read_bytes()
        yield path.relative_to(root).as_posix(), content
        waiting += _imports(content, name, path.name == "__init__.py")


def _located(root: Path, dotted: str) -> Iterator[tuple[Path, str]]:
  """Yield the files of a module and of the packages that it lies in, with their names."""
  parts = dotted.split(".")
  for count in range(1, len(parts) + 1):
    place = root.joinpath(*parts[:count])
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
      if path.is_file():
        yield path, ".".join(parts[:count])
        break


def _imports(content: bytes, name: str, package: bool) -> Iterator[str]:
  """Yield the names of all modules that a source may import, anywhere in it."""
  try:
    tree = ast.parse(content)
  except (SyntaxError, ValueError):  # of a file that is imported only if it is needed
    return
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = node.module or ""
      if node.level:
        parents = name.split(".")[: len(name.split(".")) - node.level + package]
        base = ".".join([*parents, *([base] if base else [])])
      yield base
      yield from (f"{base}.{alias.name}" for alias in node.names)
