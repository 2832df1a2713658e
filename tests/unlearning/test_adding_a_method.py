"""A method is listed in one place: its file and one line of the registry put it everywhere.

The example of docs/adding_a_method.md is added to a copy of the package, which another process
then asks at every door.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BATTERY = "tests/unlearning/test_every_method.py"
DOORS = """
import json
import jaxmu
from jaxmu.command import cli, listing
from jaxmu.errors import SettingsError
from jaxmu.settings import Settings
from jaxmu.studies import catalog
from jaxmu.unlearning import METHODS
from support import problems

def settings(**unlearning):
  words = ["--config=configs/cnn_digits.py", "--config.methods=ft,headft"]
  words += [f"--config.unlearning.headft.{key}={value}" for key, value in unlearning.items()]
  return Settings.from_config(cli.parse(cli.parser(""), words).config, catalog())

try:
  refusal = settings(learning_rat=0.02)
except SettingsError as error:
  refusal = str(error)
print(json.dumps({
  "registry": list(METHODS),
  "methods": list(settings(learning_rate=0.02).methods),
  "hyper-parameters": settings(learning_rate=0.02).to_dict()["unlearning"]["headft"],
  "refusal": refusal,
  "overview": listing.overview(),
  "details": listing.details("headft"),
  "page": listing.page(),
  "python": jaxmu.methods()["headft"],
  "row": problems.TABLE["headft"]._asdict(),
}))
"""


def example() -> tuple[Path, str, str]:
  """Return the path and text of the page's method, and its line of the registry."""
  page = (ROOT / "docs" / "adding_a_method.md").read_text()
  block = r"<!-- {} -->\n```python\n(.*?)^```$"
  found = re.search(block.format(r"file: (\S+)"), page, re.M | re.S)
  (line,) = [
    text for text in re.findall(block.format("fragment"), page, re.M | re.S) if "headft" in text
  ]
  return Path(found[1]), found[2], line


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
  """Copy the package, add the example to it; return the folder."""
  folder = tmp_path_factory.mktemp("package")
  left_out = shutil.ignore_patterns("__pycache__")
  shutil.copytree(ROOT / "jaxmu", folder / "jaxmu", ignore=left_out)
  path, text, line = example()
  (folder / path).write_text(text)
  registry = folder / "jaxmu" / "unlearning" / "__init__.py"
  before = line.replace(', "headft"', "")
  assert before in registry.read_text()
  registry.write_text(registry.read_text().replace(before, line))
  return folder


def run(copied: Path, *words: str) -> str:
  """Run Python on the copy, from the project's root; returns what it prints."""
  paths = os.pathsep.join((str(copied), str(ROOT / "tests")))
  done = subprocess.run(
    [sys.executable, "-P", *words],  # not the package of this folder
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": paths},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def doors(copied):
  return json.loads(run(copied, "-c", DOORS))


def test_the_registry_ends_with_it(doors):
  assert doors["registry"][-1] == "headft"
  assert len(set(doors["registry"])) == len(doors["registry"]) > 2


def test_a_config_may_name_it_and_its_hyper_parameters(doors):
  assert doors["methods"] == ["ft", "headft"]
  assert doors["hyper-parameters"]["learning_rate"] == 0.02
  assert doors["hyper-parameters"]["num_epochs"] == 3  # the default
  assert "learning_rat" in doors["refusal"]
  assert "did you mean 'learning_rate'" in doors["refusal"]


def test_the_command_line_lists_it(doors):
  assert re.search(r"^headft +Head fine-tuning +retain$", doors["overview"], re.M)
  assert "headft: Head fine-tuning" in doors["details"]
  assert "learning_rate = 0.01; LogU[1e-05, 0.1]" in doors["details"]


def test_the_page_of_methods_has_its_row_and_section(doors):
  assert "| [`headft`](#headft) | Head fine-tuning | retain |" in doors["page"]
  assert "\n## headft\n" in doors["page"]


def test_python_describes_it(doors):
  assert doors["python"]["label"] == "HeadFT"
  assert doors["python"]["hyperparameters"]["batch_size"] == 64


def test_the_battery_tests_it(copied, doors):
  """From what it declares; nothing was added to the tests' table."""
  row = doors["row"]
  assert row["small"] == {"batch_size": 8, "num_epochs": 2}
  assert (row["legs"], row["frozen_norm"]) == (2, True)
  chosen = "headft and (frozen or rejects or complete)"
  printed = run(copied, "-m", "pytest", "-p", "no:cacheprovider", BATTERY, "-k", chosen)
  assert re.search(r"^3 passed", printed, re.M)
