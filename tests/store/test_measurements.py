"""Measurements: a file each, so that processes lose nothing and what is damaged is made again."""

import pytest
from support import races

from jaxmu.store import files
from jaxmu.store.measurements import Measurements

KEY = "cnn/4/64/(8, 8, 1)/cpu"
ANY = lambda value: True


def test_what_was_measured_is_remembered(tmp_path):
  folder = tmp_path / "deep" / "chunks"
  assert Measurements(folder).find(KEY, ANY) is None
  assert Measurements(folder).remember(KEY, 4, ANY) == 4
  assert Measurements(folder).find(KEY, ANY) == 4
  assert Measurements(folder).find(f"{KEY} ", ANY) is None
  assert Measurements(folder).find(KEY, lambda chunk: chunk < 4) is None


def test_the_first_of_two_measurements_counts(tmp_path):
  assert Measurements(tmp_path).remember(KEY, 4, ANY) == 4
  assert Measurements(tmp_path).remember(KEY, 2, ANY) == 4
  assert Measurements(tmp_path).remember(KEY, 2, lambda chunk: chunk == 2) == 2
  assert Measurements(tmp_path).find(KEY, ANY) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"key": 3, "value"', None])
def test_what_is_damaged_is_replaced(tmp_path, content):
  Measurements(tmp_path).remember(KEY, 4, ANY)
  (path,) = tmp_path.iterdir()
  if content is None:  # another key's
    files.write_sealed(path, {"key": "other", "value": 4})
  else:
    path.write_bytes(content)
  assert Measurements(tmp_path).find(KEY, ANY) is None
  assert Measurements(tmp_path).remember(KEY, 2, ANY) == 2
  assert Measurements(tmp_path).find(KEY, ANY) == 2


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
  (tmp_path / "file").write_text("")
  blocked = Measurements(tmp_path / "file" / "chunks")
  assert blocked.remember(KEY, 4, ANY) == 4
  assert blocked.find(KEY, ANY) is None


def test_racing_processes_lose_nothing_and_agree(tmp_path):
  found = races.run(8, 10, races.remember, tmp_path)
  for k in range(10):
    shared = {each[k][0] for each in found.values()}
    assert len(shared) == 1 and Measurements(tmp_path).find(f"shared {k}", ANY) in shared
    for pid, each in found.items():
      assert each[k][1] == pid == Measurements(tmp_path).find(f"{pid} {k}", ANY)
  assert len(list(tmp_path.iterdir())) == 10 + 8 * 10
