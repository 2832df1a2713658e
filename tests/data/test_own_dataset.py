"""A data set of a user's own: arrays in any form that a file may have, or a data set."""

import numpy as np
import pytest

from jaxmu import data
from jaxmu.data import datasets
from jaxmu.errors import DataError

MODULE = """
import numpy as np
from jaxmu import data

rng = np.random.default_rng(0)
X, Y = rng.integers(0, 256, (20, 6, 4, 3), np.uint8), np.arange(20) % 3

def pair(): return X, Y
def three(): return X, Y.tolist(), 15
def mapping():
  return {"images": X, "labels": Y, "num_train": 15, "class_names": ["a", "b", "c"],
          "groups": Y, "augmentation": "flip"}
def halves():
  return {"train_images": X[:15], "train_labels": Y[:15],
          "test_images": X[15:], "test_labels": Y[15:]}
def whole(): return data.datasets.make("other", X, Y, 15, mean=(0.5,) * 3)
def places(path, data_dir): return X if path == "p" and data_dir == "d" else None, Y, 15
def nothing(): return None
def one(): return X
def strange(): return {"images": X, "labels": Y, "labls": Y}
def objects(): return {"images": X, "labels": [object()] * 20}
def floats(): return X / 255, Y, 15
def fails(): return open("od_absent.bin")
NUMBER = 4
"""
WRONG = {
  "nothing": "data set od_data:nothing gives None; expected images, labels and num_train",
  "one": "data set od_data:one gives uint8 of shape",
  "strange": "data set od_data:strange holds 'labls', which is not read; did you mean 'labels'",
  "objects": "data set od_data:objects: labels is .* expected an array of numbers",
  "floats": "images have dtype float64; expected uint8",
  "fails": r"fails cannot be used: FileNotFoundError: .*od_absent.bin' \(od_data.py, line 23\)",
  "NUMBER": "NUMBER is 4; expected a function that returns images and labels",
}


@pytest.fixture
def module(own_folder):
  (own_folder / "od_data.py").write_text(MODULE)


@pytest.mark.parametrize("name", ["three", "mapping", "halves", "whole"])
def test_arrays_come_in_several_forms(name, module):
  found = data.load(f"od_data:{name}")
  assert found.name == f"od_data:{name}"
  assert found.images.shape == (20, 6, 4, 3) and found.input_shape == (6, 4, 3)
  assert (found.num_train, found.num_classes) == (15, 3)
  assert found.labels.tolist() == [k % 3 for k in range(20)]
  assert (found.groups is not None, found.augmentation) == (
    (True, "flip") if name == "mapping" else (False, "none")
  )
  assert (found.mean == (0.5,) * 3) == (name == "whole")


def test_without_a_test_part_one_is_drawn_as_for_a_file(module, own_folder):
  found = data.load("od_data:pair")
  import od_data

  np.savez(own_folder / "x.npz", images=od_data.X, labels=od_data.Y)
  same = data.load("npz", path=str(own_folder / "x.npz"))
  assert found.sha256 == same.sha256 and found.indices.tolist() == same.indices.tolist()


def test_places_of_the_config_reach_a_function_that_takes_them(module):
  assert data.load("od_data:places", path="p", data_dir="d").num_train == 15
  with pytest.raises(
    DataError, match=r"three takes no argument 'path', and config.data.path is 'p'"
  ):
    data.load("od_data:three", path="p")


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_set_is_one_line(name, module):
  with pytest.raises(DataError, match=WRONG[name]) as error:
    data.load(f"od_data:{name}")
  assert "\n" not in str(error.value)


def test_images_need_not_be_square():
  made = datasets.make(
    "wide", np.arange(240, dtype=np.uint8).reshape(5, 4, 12), np.arange(5) % 2, 3
  )
  assert made.input_shape == (4, 12, 1)
