"""docs/architecture.md shows the code as it is: its picture, its table, and the names in it."""

import importlib.util
import re
from pathlib import Path

import pytest

from jaxmu.studies.study import Member, Stage, Study

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.fixture(scope="module")
def house():
  spec = importlib.util.spec_from_file_location("house", ROOT / "bench" / "house.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_picture_and_table_are_made_from_the_imports(house):
  shown = PAGE.split(house.BEGIN)[1].split(house.END)[0]
  assert shown == house.house(), "run `python bench/house.py`"


def test_every_room_is_in_the_picture(house):
  folders = {p.parent.name for p in ROOT.glob("jaxmu/*/__init__.py")}
  modules = {p.stem for p in ROOT.glob("jaxmu/*.py")} - {"__init__", "__main__"}
  assert set(house.rooms()) == folders | modules
  drawn = set(re.findall(r"\b(\w+) --> (\w+)", PAGE))
  assert {room for arrow in drawn for room in arrow} == set(house.rooms())


def test_arrows_that_a_longer_way_says_are_left_out(house):
  arrows = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
  assert house.shortest(arrows) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}
  assert arrows["a"] == {"b", "c", "d"}


def test_a_room_that_the_contract_does_not_list_is_an_error(house, monkeypatch):
  every = house.rooms()
  monkeypatch.setattr(house, "rooms", lambda: [room for room in every if room != "kernels"])
  with pytest.raises(ValueError, match=r"rooms are .*'kernels'.*, but the contract lists"):
    house.imports()


def test_a_room_and_what_it_imports_are_found(house):
  arrows, devices = house.imports()
  assert {"audit", "store"} <= arrows["report"]
  assert arrows["errors"] == set()
  assert "engine" in devices
  assert not devices & {"audit", "report", "settings"}


@pytest.mark.parametrize("value", [Member, Stage, Study])
def test_the_fields_of_a_study_are_those_of_the_code(value):
  (line,) = re.findall(rf"^\| `{value.__name__}` \| (.*?) \|", PAGE, re.M)
  assert line.replace("`", "").split(", ") == list(value._fields)
