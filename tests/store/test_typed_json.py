"""JSON as declared types: equal when read back, and one line where the form is another."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import manifests

from jaxmu.errors import StoreError
from jaxmu.store import files, typed_json
from jaxmu.store.manifest import Manifest

PATH = Path("x.json")


@dataclass(frozen=True)
class Inner:
  share: float
  note: str = ""


@dataclass(frozen=True)
class Outer:
  count: int
  right: bool
  pairs: tuple[tuple[int, str], ...]
  inner: Mapping[str, Inner]
  free: Any


VALUE = Outer(3, True, ((1, "a"), (2, "b")), {"x": Inner(0.5), "y": Inner(1.0, "odd")}, [1, None])


def test_a_record_comes_back_equal_from_its_file(tmp_path):
  files.write_json(tmp_path / "x.json", VALUE)
  assert typed_json.load(Outer, tmp_path / "x.json") == VALUE
  stored = json.loads((tmp_path / "x.json").read_text())
  assert stored["inner"] == {"x": {"share": 0.5}, "y": {"share": 1.0, "note": "odd"}}


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf"), 1e-320, 0.1 + 0.2])
def test_every_float_comes_back_bit_for_bit(loss, tmp_path):
  files.write_json(tmp_path / "x.json", Inner(loss))
  np.testing.assert_array_equal(typed_json.load(Inner, tmp_path / "x.json").share, loss)


def test_numbers_of_numpy_are_stored_as_plain_ones(tmp_path):
  files.write_json(tmp_path / "x.json", Inner(np.float64(0.25)))
  assert typed_json.load(Inner, tmp_path / "x.json") == Inner(0.25)


def test_a_manifest_comes_back_equal():
  made = manifests.manifest(("original", "retrained", "ft"))
  assert typed_json.parse(Manifest, files.plain(made), PATH) == made
  assert (made.version("jax"), made.version("optax")) == ("0.10.2", "not installed")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"count": "3"}, "'count' is text, expected a whole number"),
    ({"count": True}, "'count' is true or false, expected a whole number"),
    ({"count": 3.5}, "'count' is a number, expected a whole number"),
    ({"right": 1}, "'right' is a whole number, expected true or false"),
    ({"pairs": {}}, "'pairs' is an object, expected a list"),
    ({"pairs": [[1, "a"], [2]]}, "'pairs.1' has 1 entries, expected 2"),
    ({"pairs": [[1, "a", "b"]]}, "'pairs.0' has 3 entries, expected 2"),
    ({"pairs": [[]]}, "'pairs.0' has 0 entries, expected 2"),
    ({"pairs": [[1, 2]]}, "'pairs.0.1' is a whole number, expected text"),
    ({"inner": {"x": None}}, "'inner.x' is null, expected an object"),
    ({"inner": {"x": {}}}, "'inner.x.share' is missing"),
    ({"inner": {"x\ny": {"share": "a"}}}, r"'inner.x\ny.share' is text, expected a number"),
  ],
)
def test_a_part_of_another_form_is_named_in_one_line(change, message):
  with pytest.raises(StoreError) as error:
    typed_json.parse(Outer, files.plain(VALUE) | change, PATH)
  assert str(error.value) == (
    f"x.json is damaged ({message}); delete it and run the same command again"
  )


@pytest.mark.parametrize(
  ("value", "found"), [([], "a list"), (None, "null"), (3, "a whole number"), ("{}", "text")]
)
def test_what_is_no_object_is_named(value, found):
  with pytest.raises(StoreError, match=rf"\(it is {found}, expected an object\)"):
    typed_json.parse(Outer, value, PATH)


def test_whole_numbers_are_numbers_and_other_entries_are_left_out():
  found = typed_json.parse(Inner, {"share": 2, "later": []}, PATH)
  assert found == Inner(2.0) and isinstance(found.share, float)


def parts(value, path=()):
  """Yield the path of every entry of the objects in a JSON value; hyper-parameters are free."""
  if isinstance(value, dict) and path[-1:] not in (("hyperparameters",), ("sizes",)):
    for key, entry in value.items():
      yield (*path, key)
      yield from parts(entry, (*path, key))


FREE = (("versions",), ("lowering",), ("methods",))  # objects with any entries, or none
WHOLE = files.plain(manifests.manifest(("ft",)))


@pytest.mark.parametrize("part", [p for p in parts(WHOLE) if p[:-1] not in FREE], ids=".".join)
def test_a_manifest_without_one_of_its_parts_is_refused(part):
  value = files.plain(WHOLE)
  entry = value
  for key in part[:-1]:
    entry = entry[key]
  del entry[part[-1]]
  with pytest.raises(StoreError, match=rf"\('{'.'.join(part)}' is missing\)"):
    typed_json.parse(Manifest, value, PATH)
