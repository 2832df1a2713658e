"""Files of a request of one's own: what is forgotten, what it is compared with, and refusals."""

import numpy as np
import pytest

from jaxmu import data
from jaxmu.data import forget_list, listed_request
from jaxmu.errors import DataError

FORGET, CONTROL = np.array([9, 3, 7]), np.array([40, 5])


def write(tmp_path, name="own.npz", **arrays):
  path = tmp_path / name
  np.savez(path, **arrays)
  return str(path)


def test_rows_of_both_lists_in_a_data_set(tmp_path):
  found = listed_request.read(write(tmp_path, forget=FORGET, control=CONTROL))
  indices = np.arange(50)[::-1]  # stored the other way round
  forget, control = found.rows(indices, 49)
  assert forget.tolist() == [40, 42, 46] and control.tolist() == [9, 44]
  assert listed_request.read(write(tmp_path, forget=FORGET)).rows(indices, 49).control is None


def test_the_identity_is_what_stands_in_the_lists(tmp_path):
  one = listed_request.identify(write(tmp_path, forget=FORGET, control=CONTROL))
  again = write(tmp_path, "b.npz", control=CONTROL[::-1].astype(np.uint8), forget=np.sort(FORGET))
  assert listed_request.identify(again) == one
  others = (
    {"forget": FORGET},
    {"forget": FORGET, "control": CONTROL[:1]},
    {"forget": CONTROL, "control": FORGET},
  )
  assert len({one} | {listed_request.identify(write(tmp_path, **o)) for o in others}) == 4
  alone = forget_list.ForgetList("", FORGET).sha256
  assert listed_request.identify(write(tmp_path, forget=FORGET)) == alone


BAD = {
  "overlap": (
    {"forget": FORGET, "control": np.array([1, 7, 3])},
    "names 2 samples both to forget and as control, the first is 3; expected control samples that",
  ),
  "no forget": ({"control": CONTROL}, "own.npz holds control; expected the positions to forget"),
  "nothing": ({}, "own.npz holds nothing; expected the positions to forget"),
  "unread": (
    {"forget": FORGET, "contol": CONTROL},
    "'contol', which is not read; did you mean 'co",
  ),
  "repeats": (
    {"forget": np.array([3, 5, 3])},
    "own.npz[forget], element 2: 3; stands in element 0",
  ),
  "repeats of control": (
    {"forget": FORGET, "control": np.array([5, 5])},
    "own.npz[control], element 1: 5; stands in element 0",
  ),
  "negative": ({"forget": np.array([-1])}, "own.npz[forget], element 0: -1; expected a whole numb"),
  "floats": ({"forget": FORGET / 2}, "own.npz[forget] holds float64 of shape (3,); expected whole"),
  "mask": ({"forget": FORGET > 3}, "own.npz[forget] holds bool of shape (3,); expected whole numb"),
  "table": (
    {"forget": FORGET, "control": CONTROL[None]},
    "own.npz[control] holds int64 of shape (1, 2); expected whole numbers",
  ),
  "empty": ({"forget": FORGET[:0]}, "own.npz[forget] is empty; expected at least one position"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_request_gives_one_line(case, tmp_path):
  arrays, message = BAD[case]
  with pytest.raises(DataError) as caught:
    listed_request.read(write(tmp_path, **arrays))
  assert message in str(caught.value) and "\n" not in str(caught.value)
  assert str(caught.value).startswith(f"forget list {tmp_path}/own.npz")


def test_other_files_are_refused(tmp_path):
  with pytest.raises(
    DataError, match=r"forget list .*no.npz does not exist; .*scenario\.path=FILE"
  ):
    listed_request.read(str(tmp_path / "no.npz"))
  np.save(tmp_path / "own.npy", FORGET)
  with pytest.raises(
    DataError, match=r"forget list .*own.npy is not a readable .*savez\(path, for"
  ):
    listed_request.read(str(tmp_path / "own.npy"))


@pytest.mark.parametrize(
  ("positions", "message"),
  [
    ({"forget": [50]}, r"\[forget\], element 0: 50; is in the test part; expected 0..49"),
    ({"forget": [3, 60]}, r"\[forget\], element 1: 60; is no training sample"),
    (
      {"forget": [3], "control": [60]},
      r"\[control\], element 0: 60; is no sample; expected one of",
    ),
    ({"forget": np.arange(50)}, "names all 50 training samples"),
  ],
)
def test_samples_outside_the_data_are_refused(positions, message, tmp_path):
  found = listed_request.read(write(tmp_path, **positions))
  with pytest.raises(DataError, match=message):
    found.rows(np.arange(60), 50)


def test_control_samples_are_in_no_other_part_of_training():
  forget, control = np.arange(5), np.array([7, 8, 9, 55])
  split = data.listed_split(forget, 50, 60, control=control)
  parts = {"retain": split.retain, "forget": split.forget, "val": split.val}
  assert {k: len(v) for k, v in parts.items()} == {"retain": 34, "forget": 5, "val": 8}
  assert set(np.concatenate(list(parts.values()))) == set(range(50)) - {7, 8, 9}
  with pytest.raises(
    DataError, match="5 of 50 training samples are to be forgotten, 37 to be cont"
  ):
    data.listed_split(forget, 50, 60, control=np.arange(5, 42))
