"""The hash of a reference's source: of all that it imports of its own, and of nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from jaxmu.errors import ModelError, SettingsError
from jaxmu.own_code import references, sources

FILES = {
  "sr_nets.py": "import math, sr_layers\nfrom sr_house.rooms import tiles\nimport jaxmu\n",
  "sr_layers.py": "def late():\n  from sr_late import x\n  return x\n",
  "sr_late.py": "x = 1\n",
  "sr_house/__init__.py": "",
  "sr_house/rooms/__init__.py": "from ..walls import y\n",
  "sr_house/rooms/tiles.py": "from . import floor\n",
  "sr_house/rooms/floor.py": "",
  "sr_house/walls.py": "y = 2\n",
  "sr_other.py": "z = 3\n",
}
OWN = set(FILES) - {"sr_other.py"}


@pytest.fixture
def files(own_folder):
  for name, text in FILES.items():
    (own_folder / name).parent.mkdir(parents=True, exist_ok=True)
    (own_folder / name).write_text(text)
  return own_folder


PROGRAM = """
from jaxmu.errors import ModelError
from jaxmu.own_code import references, sources
references.find("sr_nets:math", "network", ModelError)
print(sources.source_sha256("sr_nets:math"))
"""


def hashed(folder):
  """Hash as another process does."""
  command = [sys.executable, "-c", PROGRAM]
  return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_all_files_behind_a_reference_are_read_and_no_others(files):
  found = dict(sources._sources(files, "sr_nets"))
  assert set(found) == OWN
  assert found["sr_late.py"] == b"x = 1\n"


def test_an_installed_module_is_its_package_alone(tmp_path):
  site = tmp_path / "site-packages"
  for name, text in FILES.items():
    (site / name).parent.mkdir(parents=True, exist_ok=True)
    (site / name).write_text(text)
  assert set(dict(sources._sources(site, "sr_nets"))) == {"sr_nets.py"}
  house = {name for name in FILES if name.startswith("sr_house/")}
  assert set(dict(sources._sources(site, "sr_house.rooms.tiles"))) == house


def test_the_hash_follows_the_code_and_not_the_folder(files, tmp_path_factory):
  before = hashed(files)
  (files / "sr_other.py").write_text("z = 4\n")
  moved = tmp_path_factory.mktemp("moved")
  for path in files.rglob("*.py"):
    (moved / path.relative_to(files)).parent.mkdir(parents=True, exist_ok=True)
    (moved / path.relative_to(files)).write_bytes(path.read_bytes())
  assert hashed(files) == hashed(moved) == before
  (files / "sr_late.py").write_text("x = 2\n")
  assert hashed(files) != before


def test_in_one_process_the_hash_is_that_of_the_code_that_runs(files):
  references.find("sr_late:x", "network", ModelError)
  before = sources.source_sha256("sr_late:x")
  Path("sr_late.py").write_text("x = 7\n")
  assert sources.source_sha256("sr_late:x") == before


def test_what_has_no_source_is_refused():
  references.find("math:pi", "network", ModelError)
  with pytest.raises(SettingsError, match="module math has no Python source"):
    sources.source_sha256("math:pi")


def test_links_are_hashed_by_their_names(files, tmp_path_factory):
  elsewhere = tmp_path_factory.mktemp("elsewhere")
  (elsewhere / "target.py").write_text("x = 1\n")
  (files / "sr_linked").mkdir()
  (files / "sr_linked" / "deep.py").symlink_to(elsewhere / "target.py")
  found = references.find("sr_linked.deep:x", "network", ModelError)
  assert found == 1 and len(sources.source_sha256("sr_linked.deep:x")) == 64
  assert dict(sources._sources(files, "sr_linked.deep")) == {"sr_linked/deep.py": b"x = 1\n"}


def test_a_module_that_lies_elsewhere_than_its_name_says_is_refused(files, monkeypatch):
  references.find("sr_late:x", "network", ModelError)
  monkeypatch.setattr(sys.modules["sr_late"], "__file__", str(files / "not" / "there.py"))
  with pytest.raises(SettingsError, match="module sr_late does not lie where its name says"):
    sources.source_sha256("sr_late:x")


def test_a_file_that_cannot_be_parsed_counts_as_it_is(files):
  (files / "sr_late.py").write_text("def (:\n")
  assert set(dict(sources._sources(files, "sr_nets"))) == OWN
