"""The notebooks run, from first to last cell: small ones here, and as they are in the slow run."""

import ast
import json
import re
from pathlib import Path

import pytest

from jaxmu.evaluation import verify
from jaxmu.models import MODELS, torch_weights
from jaxmu.models.resnet import ResNet18

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
BOOKS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.ipynb"))}
SMALL = {"SEEDS": 1, "EPOCHS": 2}  # set where a notebook sets them
LEFT = {
  "forget_and_check": {"deletion"},
  "torch_state_dict": {"logits.npz", "original.npz", "unlearned.npz"},
}


class Narrow(ResNet18):
  """A ResNet with one block a stage, under the same names: little to compile."""

  depths = (1, 1, 1, 1)
  widths = (4, 4, 4, 4)


@pytest.fixture
def narrow(monkeypatch):
  torch_weights._names.cache_clear()
  monkeypatch.setitem(MODELS, "resnet18", Narrow)
  yield
  torch_weights._names.cache_clear()


def code(book):
  return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def small(text):
  for name, value in SMALL.items():
    text = re.sub(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.M)
  return text


def run(texts, name):
  """Execute cells one after another in one namespace; return it."""
  names = {"__name__": "__main__"}
  for number, text in enumerate(texts):
    exec(compile(text, f"{name}, cell {number}", "exec"), names)
  return names


@pytest.mark.filterwarnings("ignore::jaxmu.errors.UnlearningWarning")  # nothing is learned so soon
@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook_runs_small(name, narrow, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  run(map(small, code(BOOKS[name])), name)
  assert "Verdict: " in capsys.readouterr().out
  assert {path.name for path in tmp_path.iterdir()} == LEFT[name]
  if (tmp_path / "deletion").exists():
    assert verify(tmp_path / "deletion").sound


@pytest.mark.slow
def test_the_first_says_what_is_seen(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  found = run(code(BOOKS["forget_and_check"]), "forget_and_check")["found"]
  gap = {
    name: one.differences.set_index(["metric", "method", "other"]) for name, one in found.items()
  }
  apart = {
    name: table.loc[("FA", "unlearned", "retrained"), "value"] for name, table in gap.items()
  }
  assert not found["ct"].recognised and 0.05 > abs(apart["ct"]) < apart["msg"]


@pytest.mark.slow
def test_the_second_says_what_is_seen(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  found = run(code(BOOKS["torch_state_dict"]), "torch_state_dict")["found"]
  assert found.verdict.outcome == "passed"


@pytest.mark.parametrize("name", BOOKS)
def test_outputs_are_left_out_and_links_lead_somewhere(name):
  book = BOOKS[name]
  assert all(not cell.get("outputs") for cell in book["cells"])
  assert all(cell.get("execution_count") is None for cell in book["cells"])
  text = "".join("".join(c["source"]) for c in book["cells"] if c["cell_type"] == "markdown")
  links = re.findall(r"\]\(([^)#]+)", text)
  assert links and all((FOLDER / link).is_file() for link in links)


def test_the_second_needs_no_pytorch():
  parsed = [ast.parse(text) for text in code(BOOKS["torch_state_dict"])]
  nodes = [node for tree in parsed for node in ast.walk(tree)]
  found = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
  found |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
  assert found == {"numpy", "sklearn.datasets", "jaxmu"}
