"""docs/troubleshooting.md quotes what the programs say: every message on it stands in the code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
OTHER = ("pip ", "docker ", "jaxmu ", "bin/", "[")  # commands, and shapes


def texts(tree: ast.AST) -> set[str]:
  """Return the strings of a module, and the constant parts of its f-strings; no docstrings."""
  said = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
  return {
    node.value
    for node in ast.walk(tree)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said
  }


def messages() -> list[str]:
  """Return the quoted pieces of messages: code with a space in it, no command and no shape."""
  prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
  quoted = [q for q in re.findall(r"`([^`]+)`", prose) if " " in q and not q.startswith(OTHER)]
  return sorted({part.strip() for quote in quoted for part in quote.split("...") if part.strip()})


def test_every_message_is_one_of_the_code():
  code = {
    text for path in (ROOT / "jaxmu").rglob("*.py") for text in texts(ast.parse(path.read_text()))
  }
  found = messages()
  assert len(found) >= 30
  assert [part for part in found if not any(part in text for text in code)] == []
