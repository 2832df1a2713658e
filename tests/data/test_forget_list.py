"""Files of positions to forget: every form is read alike, and what is no list is one line."""

import pickle

import numpy as np
import pytest

from jaxmu import data
from jaxmu.data import datasets, forget_list
from jaxmu.data.transforms import subset_positions
from jaxmu.errors import DataError

POSITIONS = [7, 0, 12, 3]


class Trap:
  """What runs a program when it is unpickled."""

  def __reduce__(self):
    return (pytest.fail, ("unpickled",))


def write(tmp_path, name, content):
  """Write text, bytes, or an array as it is; return the path as text."""
  path = tmp_path / name
  if isinstance(content, np.ndarray):
    with path.open("wb") as file:  # under the name that is given
      np.save(file, content, allow_pickle=True)
  else:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
  return str(path)


GOOD = {
  "int64": ("a.npy", np.array(POSITIONS)),
  "uint64": ("a.npy", np.array(POSITIONS, np.uint64)),
  "big endian": ("a.NPY", np.array(POSITIONS, ">i2")),
  "lines": ("a.txt", "7\n0\n12\n3"),
  "words": ("a.txt", "\n 7, 0\t12 \r\n# of class 3\n3  # the last\n\n"),
  "column": ("a.csv", "7\n0\n12\n3\n"),
  "column with a name": ("a.csv", "sample\r\n7\r\n0\r\n12\r\n3\r\n"),
  "column of many": ("a.csv", 'label, Index\n"a, b", 7\nc,0\n\nc,12\nc,3\n'),
  "column of pandas": ("a.csv", ",position\n0,7\n1,0\n2,12\n3,3\n"),
  "mark of the byte order": ("a.csv", "\ufeffindex,label\n7,1\n0,1\n12,1\n3,1"),
}


@pytest.mark.parametrize("case", GOOD)
def test_every_form_holds_the_same_positions(case, tmp_path):
  listed = forget_list.read(write(tmp_path, *GOOD[case]))
  assert listed.positions.dtype == np.int64
  assert listed.positions.tolist() == POSITIONS


def test_the_identity_is_the_content_in_any_order_form_and_file(tmp_path):
  one = forget_list.identify(write(tmp_path, "a.npy", np.array(POSITIONS)))
  assert one == forget_list.identify(write(tmp_path, "b.txt", "12 7 3 0"))
  assert one == "1723edeed39b0533ea2b26dc5724b0521080479708e1a8f2f5055594cbd1bbf4"
  assert one != forget_list.identify(write(tmp_path, "c.txt", "12 7 3 1"))


WHOLE = "expected a whole number at least 0 and at most 2147483647"
BAD = {
  "no ending": ("list", "1", "list has an ending that is not known; expected .npy, .csv, .txt"),
  "another ending": ("a.json", "[1]", "a.json has an ending that is not known"),
  "empty text": ("a.txt", "", "a.txt is empty; expected at least one position"),
  "comments": ("a.txt", "# none", "a.txt is empty"),
  "empty table": ("a.csv", "", "a.csv is empty"),
  "header alone": ("a.csv", "index\n", "a.csv is empty"),
  "empty array": ("a.npy", np.zeros(0, int), "a.npy is empty"),
  "word": ("a.txt", "1\n2 three", f"a.txt, line 2: three; {WHOLE}"),
  "fraction": ("a.txt", "1\n\n2.0", f"a.txt, line 3: 2.0; {WHOLE}"),
  "fraction first": ("a.csv", "1e3\n5", f"a.csv, line 1: 1e3; {WHOLE}"),
  "hexadecimal": ("a.csv", "0x10\n5", f"a.csv, line 1: 0x10; {WHOLE}"),
  "negative": ("a.csv", "index\n4\n-1", f"a.csv, line 3: -1; {WHOLE}"),
  "negative element": ("a.npy", np.array([4, -1]), f"a.npy, element 1: -1; {WHOLE}"),
  "large": ("a.txt", "2147483648", f"a.txt, line 1: 2147483648; {WHOLE}"),
  "nines": ("a.txt", "9" * 5000, f"9... (5000 characters); {WHOLE}"),
  "large element": ("a.npy", np.array([0, 2**64 - 1], np.uint64), f"18446744073709551615; {WHOLE}"),
  "other digits": ("a.txt", "٣", WHOLE),
  "range": ("a.txt", "0..9", f"line 1: 0..9; {WHOLE}"),
  "cell left out": ("a.csv", "label,index\na,1\nb\n", f"a.csv, line 3: nothing; {WHOLE}"),
  "twice": (
    "a.txt",
    "5\n3\n4\n3",
    "a.txt, line 4: 3; stands in line 2 as well; remove the repeats",
  ),
  "twice in an array": ("a.npy", np.array([3, 5, 3]), "element 2: 3; stands in element 0 as well"),
  "columns": (
    "a.csv",
    "a,b\n1,2",
    "a.csv has columns a, b; expected one column, or one that is nam",
  ),
  "columns of numbers": ("a.csv", "1,2\n3,4", "a.csv has columns 1, 2; expected one column"),
  "both columns": ("a.csv", "index,position\n1,2", "has columns index, position; expected one col"),
  "mask": (
    "a.npy",
    np.ones(9, bool),
    "holds bool of shape (9,); expected whole numbers [n]: save nu",
  ),
  "floats": (
    "a.npy",
    np.ones(3),
    "holds float64 of shape (3,); expected whole numbers [n]: save a",
  ),
  "table": ("a.npy", np.ones((2, 3), int), "holds int64 of shape (2, 3); expected whole numbers"),
  "single number": ("a.npy", np.array(3), "holds int64 of shape (); expected whole numbers [n]"),
  "objects": (
    "a.npy",
    np.array([Trap()]),
    "a.npy cannot be read (ValueError: Object arrays cannot",
  ),
  "pickle": ("a.npy", pickle.dumps(Trap()), "a.npy cannot be read (ValueError: "),
  "cut": ("a.npy", b"\x93NUMPY\x01\x00v", "a.npy cannot be read ("),
  "not UTF-8": ("a.txt", b"\xff\xfe1", "a.txt cannot be read (UnicodeDecodeError"),
  "zero bytes": ("a.csv", b"1\0\n2", WHOLE),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_list_gives_one_line(case, tmp_path):
  name, content, message = BAD[case]
  with pytest.raises(DataError) as caught:
    forget_list.read(write(tmp_path, name, content))
  assert message in str(caught.value)
  assert str(caught.value).startswith(f"forget list {tmp_path}/")
  assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(DataError, match=r"no.csv does not exist; give .* --config.data.forget=FILE"):
    forget_list.read(str(tmp_path / "no.csv"))
  (tmp_path / "folder.txt").mkdir()
  with pytest.raises(DataError, match=r"folder.txt cannot be read \(IsADirectoryError"):
    forget_list.read(str(tmp_path / "folder.txt"))


def listed(positions, lines=()):
  return forget_list.ForgetList("a.txt", np.array(positions), lines)


def test_positions_name_the_same_samples_in_a_subset():
  digits = datasets.load("digits")
  small = data.subset(digits, 300, 100)
  positions = small.indices[:300][[200, 5, 77]]
  rows = listed(positions).rows(small.indices, small.num_train)
  assert rows.tolist() == [5, 77, 200]
  np.testing.assert_array_equal(small.images[rows], digits.images[np.sort(positions)])
  np.testing.assert_array_equal(
    small.indices, subset_positions(digits.num_train, len(digits.labels), 300, 100)
  )


def test_positions_count_the_samples_of_a_file_without_num_train(tmp_path):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
  np.savez(tmp_path / "a.npz", images=images, labels=np.arange(20) % 4)
  dataset = data.load("npz", path=str(tmp_path / "a.npz"))
  positions = dataset.indices[: dataset.num_train][[9, 2]]
  rows = listed(positions).rows(dataset.indices, dataset.num_train)
  np.testing.assert_array_equal(dataset.images[rows[::-1]], images[positions])
  test = int(dataset.indices[-1])
  with pytest.raises(DataError, match=rf"element 0: {test}; is in the test part; expected one of "):
    listed([test]).rows(dataset.indices, dataset.num_train)


@pytest.mark.parametrize(
  ("positions", "indices", "message"),
  [
    ([3, 10], np.arange(14), "line 5: 10; is in the test part; expected 0..9, the training part"),
    ([3, 14], np.arange(14), "line 5: 14; is no training sample; expected 0..9, the training part"),
    ([3, 2**31 - 1], np.arange(14), "line 5: 2147483647; is no training sample; expected 0..9"),
    (
      [8, 3],
      2 * np.arange(14),
      "3; is no training sample; expected one of the 10 training samples",
    ),
    (range(10), np.arange(14), "a.txt names all 10 training samples, which leaves none to retain"),
  ],
)
def test_what_is_no_training_sample_gives_one_line(positions, indices, message):
  with pytest.raises(DataError) as caught:
    listed(positions, lines=range(4, 14)).rows(indices, 10)
  assert message in str(caught.value)
  assert "\n" not in str(caught.value)
