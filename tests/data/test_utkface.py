"""UTKFace from a folder: ages and order come from names, and bad files are told."""

import numpy as np
import pytest
from PIL import Image

from jaxmu import data
from jaxmu.data import utkface
from jaxmu.errors import DataError


def picture(folder, name, value, mode="RGB"):
  Image.new(mode, (20, 20), value if mode == "L" else (value, 0, 255 - value)).save(folder / name)


@pytest.fixture
def folder(tmp_path):
  for k, age in enumerate((0, 19, 20, 39, 40, 79, 80, 116, 5, 25, 45, 65, 85)):
    picture(tmp_path, f"{age}_1_0_2017010{k}.jpg.chip.jpg", 10 * k)
  return tmp_path


@pytest.mark.parametrize(
  ("age", "expected"),
  [(0, 0), (19, 0), (20, 1), (39, 1), (40, 2), (79, 3), (80, 4), (116, 4)],
)
def test_classes_are_twenty_years(age, expected):
  assert utkface.age_class(f"{age}_0_0_2017.jpg.chip.jpg") == expected


def test_files_come_in_the_order_of_their_names(folder):
  images, labels = utkface.read(str(folder))
  names = sorted(path.name.encode() for path in folder.iterdir())
  assert labels.tolist() == [utkface.age_class(name.decode()) for name in names]
  assert images.shape == (13, 224, 224, 3)
  reds = [int(np.asarray(Image.open(folder / name.decode()))[0, 0, 0]) for name in names]
  np.testing.assert_array_equal(images[:, 0, 0, 0], reds)


def test_the_split_is_that_of_the_specification(folder):
  found = data.load("utkface", path=str(folder))
  order = np.random.default_rng(123).permutation(13)
  images, labels = utkface.read(str(folder))
  assert found.num_train == 13 - int(0.2 * 13)
  np.testing.assert_array_equal(found.labels, labels[np.r_[order[2:], order[:2]]])
  assert found.class_names == utkface.CLASSES and found.augmentation == "none"
  np.testing.assert_array_equal(found.images[-1], images[order[1]])


def test_it_is_looked_for_beside_other_data_sets(folder, tmp_path_factory):
  root = tmp_path_factory.mktemp("root")
  (root / "UTKFace").symlink_to(folder)
  assert len(data.load("utkface", data_dir=str(root)).labels) == 13


def test_grey_pictures_become_coloured(folder):
  picture(folder, "50_0_0_x.jpg", 77, "L")
  images, _ = utkface.read(str(folder))
  assert images.shape[-1] == 3


@pytest.mark.parametrize(
  ("names", "words"),
  [
    (["face.jpg", "_1_0.jpg"], r"2 files of .* have no age .*\(_1_0.jpg, face.jpg\)"),
    (["30_torn.jpg"], r"1 files of .* cannot be read as pictures \(30_torn.jpg\)"),
  ],
)
def test_files_that_cannot_be_used_are_counted_and_named(folder, names, words):
  for name in names:
    (folder / name).write_bytes(b"no picture")
  with pytest.raises(DataError, match=words):
    utkface.read(str(folder))


def test_no_folder_is_one_line(tmp_path):
  with pytest.raises(DataError, match=r"has no \*.jpg files; expected the aligned"):
    data.load("utkface", path=str(tmp_path / "none"))
