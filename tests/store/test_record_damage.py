"""Damage to a record: never another number, always one line that names the file and the remedy."""

import shutil

import numpy as np
import pytest
from support import records

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import files
from jaxmu.store.groups import read_marker
from jaxmu.store.record import Record

READERS = {
  "logits.npy": lambda record: record.logits("ft"),
  "phi.npy": lambda record: record.scores("ft"),
  "correct.npy": lambda record: record.scores("ft"),
  "curves.parquet": lambda record: record.curves("ft"),
  "variables": lambda record: record.variables("ft"),
  "marker.json": lambda record: record.rows("ft"),
}
GROUPS = ((0, 1), (2, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return records.record(tmp_path_factory.mktemp("made") / "run", groups=GROUPS, seeds=range(4))


@pytest.fixture
def record(made, tmp_path):
  shutil.copytree(made.path, tmp_path / "run")
  return Record(tmp_path / "run")


def flip(path, place):
  content = bytearray(path.read_bytes())
  content[place] ^= 1
  path.write_bytes(content)


def cut(path):
  path.write_bytes(path.read_bytes()[:-3])


DAMAGES = {
  "first byte": lambda path, other: flip(path, 0),
  "middle byte": lambda path, other: flip(path, path.stat().st_size // 2),
  "last byte": lambda path, other: flip(path, -1),
  "truncated": lambda path, other: cut(path),
  "longer": lambda path, other: path.write_bytes(path.read_bytes() + b"\0"),
  "emptied": lambda path, other: path.write_bytes(b""),
  "removed": lambda path, other: path.unlink(),
  "another group's": lambda path, other: shutil.copyfile(other, path),
}


def largest(path):
  inside = [path, *path.rglob("*")]
  return max((each for each in inside if each.is_file()), key=lambda each: each.stat().st_size)


def refused(read, folder, name):
  """See a read refused in one line that names the file and how to go on."""
  with pytest.raises((StoreError, CheckpointError)) as error:
    read()
  said = str(error.value)
  assert "\n" not in said and said.count("--repair") == 1, said
  assert str(folder) in said and name in said, said
  return said


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_every_file_is_verified_when_it_is_read(record, tmp_path, name, damage):
  """As a new process reads it; of the variables the largest file is damaged."""
  folder, other = record.folder("ft", "2-3"), record.folder("ft", "0-1")
  DAMAGES[damage](largest(folder / name), largest(other / name))
  refused(lambda: READERS[name](Record(tmp_path / "run")), folder, name)


def test_every_file_of_the_variables_counts(record, tmp_path):
  """Each file of the checkpoint with one bit changed: refused, and named by --repair."""
  folder = record.folder("ft", "2-3")
  inside = [name for name in read_marker(folder).files if name.startswith("variables/")]
  assert len(inside) > 3
  for name in inside:
    path = folder / name
    whole = path.read_bytes()
    if not whole:
      continue
    flip(path, len(whole) // 2)
    refused(lambda: Record(tmp_path / "run").variables("ft"), folder, "variables")
    ((found, reason),) = record.damaged()
    assert found == folder and name in reason
    path.write_bytes(whole)
  assert list(record.damaged()) == []
  Record(tmp_path / "run").variables("ft")


def test_other_files_than_the_damaged_one_are_still_read(record, tmp_path):
  flip(record.folder("ft", "2-3") / "phi.npy", -1)
  again = Record(tmp_path / "run")
  np.testing.assert_array_equal(again.logits("ft"), records.logits(range(4)))
  np.testing.assert_array_equal(
    again.scores("ft", [{"seed": 1}])[0], records.logits([1])[..., 0]
  )  # nor does a group matter of which nothing is read


def test_a_whole_group_of_another_name_or_stage_is_refused(record, tmp_path):
  folder, other = record.folder("ft", "2-3"), record.folder("ft", "0-1")
  shutil.rmtree(folder)
  shutil.copytree(other, folder)
  said = refused(lambda: Record(tmp_path / "run").rows("ft"), folder, "marker.json")
  assert "it is the marker of ft/0-1" in said
  again = Record(tmp_path / "run")
  again.expect("msg", records.expected((0, 1)))
  shutil.copytree(other, again.folder("msg", "0-1"))
  said = refused(lambda: again.rows("msg"), again.folder("msg", "0-1"), "marker.json")
  assert "it is the marker of ft/0-1" in said


def test_a_folder_without_marker_is_refused(record, tmp_path):
  folder = record.folder("ft", "7")
  folder.mkdir()
  again = Record(tmp_path / "run")
  assert not again.has("ft", "7")
  said = refused(lambda: again.missing("ft"), folder, "marker.json")
  assert said.startswith(f"{folder} has no marker.json; run the same command with --repair")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"members": 3}, "'members' is a whole number, expected a list"),
    ({"cost": None}, "'cost' is null, expected an object"),
    ({"files": {"logits.npy": [1]}}, "'files.logits.npy' has 1 entries, expected 2"),
    ({"members": [{}]}, "'members.0.at' is missing"),
  ],
)
def test_a_sealed_marker_of_another_form_is_one_line(record, tmp_path, change, message):
  path = record.folder("ft", "2-3") / "marker.json"
  files.write_sealed(path, files.read_sealed(path) | change)
  said = refused(lambda: Record(tmp_path / "run").rows("ft"), path.parent, "marker.json")
  assert f"is damaged ({message})" in said


def test_an_array_of_another_length_than_its_group_is_refused(tmp_path):
  made = Record(tmp_path)
  made.expect("ft", records.expected((0, 1)))
  attempt = made.attempt("ft", "0-1")
  records.write(attempt, "ft", (0, 1, 2))
  made.commit(attempt, records.marker("ft", "0-1", records.expected((0, 1))))
  said = refused(lambda: made.logits("ft"), made.folder("ft", "0-1"), "logits.npy")
  assert "it has (3,) rows for 2 members" in said


def test_what_a_group_does_not_keep_is_one_line(record):
  with pytest.raises(StoreError, match=r"stages/ft/0-1 keeps no embeddings\.npy$"):
    record.array("ft", "embeddings")


def test_nothing_is_unpickled(record, tmp_path):
  """Not even from a group whose digests fit."""
  folder = record.folder("ft", "2-3")
  evil = np.array([{"a": 1}, {"a": 2}], dtype=object)
  np.save(folder / "logits.npy", evil, allow_pickle=True)
  (folder / "marker.json").unlink()
  marker = records.marker("ft", "2-3", records.expected((2, 3)))
  digests = files.digests(folder)
  files.write_sealed(folder / "marker.json", files.plain(marker) | {"files": digests})
  with pytest.raises(StoreError, match=r"logits\.npy is damaged"):
    Record(tmp_path / "run").logits("ft")


def test_files_are_verified_once(record, tmp_path, monkeypatch):
  again, read = Record(tmp_path / "run"), []
  verify = files.verify
  monkeypatch.setattr(files, "verify", lambda *given: read.append(given) or verify(*given))
  for _ in range(3):
    again.logits("ft")
  assert len(read) == len(GROUPS)


def test_repair_finds_what_is_damaged_and_the_members_are_missing_again(record, tmp_path):
  assert list(record.damaged()) == []
  records.commit(record, "msg", "0-1", (0, 1))
  flip(record.folder("ft", "0-1") / "logits.npy", -1)
  (record.folder("msg", "0-1") / "marker.json").unlink()
  found = dict(Record(tmp_path / "run").damaged())
  assert list(found) == [record.folder("ft", "0-1"), record.folder("msg", "0-1")]
  assert "logits.npy does not have its stored SHA-256" in found[record.folder("ft", "0-1")]
  again = Record(tmp_path / "run")
  for folder in found:
    again.forget(folder)
    assert not folder.exists()
  assert list(again.damaged()) == []
  assert again.missing("ft") == [0, 1]
  assert records.commit(again, "ft", "0-1", (0, 1))
  np.testing.assert_array_equal(again.logits("ft"), records.logits(range(4)))


def test_what_is_made_again_is_verified_again(record):
  """A group that was read, deleted and made anew is not taken for the one that was verified."""
  record.logits("ft")
  record.forget(record.folder("ft", "0-1"))
  records.commit(record, "ft", "0-1", (0, 1))
  flip(record.folder("ft", "0-1") / "logits.npy", -1)
  refused(lambda: record.logits("ft"), record.folder("ft", "0-1"), "logits.npy")
