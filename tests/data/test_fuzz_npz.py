"""Bad npz files of every kind: each is refused in one line, and nothing is written."""

import io
import zipfile

import numpy as np
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4
WHOLE = {"images": IMAGES, "labels": LABELS, "num_train": 15}
HALVES = {
  "train_images": IMAGES[:15],
  "train_labels": LABELS[:15],
  "test_images": IMAGES[15:],
  "test_labels": LABELS[15:],
}


def labelled(value, kind):
  """Return labels with one of them replaced, in a type that holds it."""
  labels = LABELS.astype(kind)
  labels[7] = value
  return labels


OUT = "label {} at position 7 is out of range; expected 0..C-1, at most 65535"
NAMES = np.array(["a", "b", "c", "d"])
WHOLE_NUMBER = "expected a whole number from 1 to 19: store it as an int"

# What replaces an array of the good file (None leaves it out), and part of the answer.
WHOLE_CASES = {
  # labels: nothing wraps, whatever the type
  "label 2**64-1 u8": ({"labels": labelled(2**64 - 1, "u8")}, OUT.format(2**64 - 1)),
  "label 2**63 u8": ({"labels": labelled(2**63, "u8")}, OUT.format(2**63)),
  "label 2**40 u8": ({"labels": labelled(2**40, "u8")}, OUT.format(2**40)),
  "label 2**40 i8": ({"labels": labelled(2**40, "i8")}, OUT.format(2**40)),
  "label 2**32 i8": ({"labels": labelled(2**32, "i8")}, OUT.format(2**32)),
  "label 2**31 u4": ({"labels": labelled(2**31, "u4")}, OUT.format(2**31)),
  "label 2**31 i8": ({"labels": labelled(2**31, "i8")}, OUT.format(2**31)),
  "label 3e9 u8": ({"labels": labelled(3_000_000_000, "u8")}, OUT.format(3_000_000_000)),
  "label 3e9 i8": ({"labels": labelled(3_000_000_000, ">i8")}, OUT.format(3_000_000_000)),
  "label a million": ({"labels": labelled(1_000_000, "i4")}, OUT.format(1_000_000)),
  "label 65536": ({"labels": labelled(65_536, "i4")}, OUT.format(65_536)),
  "label -2**63": ({"labels": labelled(-(2**63), "i8")}, OUT.format(-(2**63))),
  "label -1": ({"labels": labelled(-1, "i1")}, OUT.format(-1)),
  "without num_train": ({"labels": labelled(2**40, "i8"), "num_train": None}, OUT.format(2**40)),
  "label beyond names": (
    {"labels": labelled(4, "i8"), "class_names": NAMES},
    "label 4 at position 7 is out of range; expected 0..3",
  ),
  "label wraps to a name": (
    {"labels": labelled(2**32 + 1, "i8"), "class_names": NAMES},
    "label 4294967297 at position 7 is out of range; expected 0..3",
  ),
  "sparse labels": (
    {"labels": LABELS * 1000},
    "no training sample has label 1, while labels reach 3000; expected 0..C-1",
  ),
  "labels from 1": ({"labels": LABELS + 1}, "no training sample has label 0"),
  "class only tested": ({"labels": np.r_[LABELS[:15] % 3, 3, 0, 1, 2, 3]}, "has label 3"),
  "labels float": ({"labels": LABELS / 1}, "labels have dtype float64"),
  "labels bool": ({"labels": LABELS > 1}, "labels have dtype bool"),
  "labels text": ({"labels": LABELS.astype(str)}, "labels have dtype <U21"),
  "labels complex": ({"labels": LABELS * 1j}, "labels have dtype complex128"),
  "labels dates": ({"labels": LABELS.astype("M8[D]")}, "labels have dtype datetime64[D]"),
  "labels 0-d": ({"labels": np.int64(1)}, "expected one label per image"),
  "labels one-hot": ({"labels": np.eye(4)[LABELS]}, "labels have shape (20, 4)"),
  "labels short": ({"labels": LABELS[:19]}, "expected one label per image"),
  "labels one class": ({"labels": LABELS * 0}, "all labels are 0; expected at least 2"),
  # num_train
  "num_train 150.7": ({"num_train": 15.7}, f"num_train is 15.7 (float64); {WHOLE_NUMBER}"),
  "num_train 15.0": ({"num_train": 15.0}, f"num_train is 15.0 (float64); {WHOLE_NUMBER}"),
  "num_train text": ({"num_train": "15"}, f"num_train is 15 (<U2); {WHOLE_NUMBER}"),
  "num_train nan": ({"num_train": np.nan}, f"num_train is nan (float64); {WHOLE_NUMBER}"),
  "num_train inf": ({"num_train": np.inf}, f"num_train is inf (float64); {WHOLE_NUMBER}"),
  "num_train true": ({"num_train": True}, f"num_train is True (bool); {WHOLE_NUMBER}"),
  "num_train complex": ({"num_train": 15j}, f"num_train is 15j (complex128); {WHOLE_NUMBER}"),
  "num_train date": ({"num_train": np.datetime64("2020-01-01")}, WHOLE_NUMBER),
  "num_train list": ({"num_train": [15]}, f"num_train is int64 of shape (1,); {WHOLE_NUMBER}"),
  "num_train many": ({"num_train": np.arange(99)}, "num_train is int64 of shape (99,)"),
  "num_train empty": ({"num_train": []}, "num_train is float64 of shape (0,)"),
  "num_train 2**64-1": ({"num_train": np.uint64(2**64 - 1)}, f"num_train is {2**64 - 1}; "),
  "num_train 0": ({"num_train": 0}, "num_train is 0; expected 1 to 19"),
  "num_train all": ({"num_train": 20}, "num_train is 20; expected 1 to 19"),
  "num_train -1": ({"num_train": -1}, "num_train is -1; expected 1 to 19"),
  # mean and std
  "mean complex": ({"mean": np.full(3, 0.5 + 1j)}, "mean is complex128 of shape (3,)"),
  "mean text": ({"mean": "half"}, "mean is <U4 of shape ()"),
  "mean bool": ({"mean": True}, "mean is bool of shape ()"),
  "mean 2-d": ({"mean": np.full((1, 3), 0.5)}, "mean is float64 of shape (1, 3)"),
  "mean empty": ({"mean": []}, "mean is (); expected 3 finite numbers"),
  "mean of 2": ({"mean": [0.1, 0.2]}, "mean is (0.1, 0.2); expected 3 finite numbers"),
  "mean of 3,000": ({"mean": np.zeros(3000)}, "mean is 3000 numbers; expected 3 finite numbers"),
  "mean nan": ({"mean": np.nan}, "mean is (nan,); expected 3 finite numbers"),
  "mean of bytes": ({"mean": 125.3}, "mean is (125.3,); expected that of images scaled to [0, 1]"),
  "mean negative": ({"mean": -0.5}, "mean is (-0.5,); expected that of images scaled"),
  "std dates": ({"std": np.array(["2020"], "M8[Y]")}, "std is datetime64[Y] of shape (1,)"),
  "std inf": ({"std": np.inf}, "std is (inf,); expected 3 finite numbers"),
  "std 0": ({"std": 0.0}, "std is (0.0,); expected positive numbers of at least 0.0001"),
  "std 1e-40": ({"std": 1e-40}, "std is (1e-40,); expected positive numbers"),
  "std 1e-300": ({"std": [0.5, 0.5, 1e-300]}, "std is (0.5, 0.5, 1e-300); expected positive"),
  "std of bytes": ({"std": 63.0}, "std is (63.0,); expected that of images scaled to [0, 1]"),
  "one grey level": ({"images": IMAGES * 0 + 7}, "are all pixels of a channel alike?"),
  # class names and augmentation
  "names a text": ({"class_names": "cat"}, "class_names are <U3 of shape ()"),
  "names 2-d": ({"class_names": NAMES[None]}, "class_names are <U1 of shape (1, 4)"),
  "names bytes": ({"class_names": NAMES.astype("S")}, "class_names are |S1 of shape (4,)"),
  "names floats": ({"class_names": [0.5, 1.5, 2.5, 3.5]}, "class_names are float64"),
  "names equal": ({"class_names": ["a", "b", "a", "d"]}, "class_names are 4, 3 of them different"),
  "names too few": ({"class_names": NAMES[:1]}, "class_names are 1, 1 of them different"),
  "augmentation unknown": ({"augmentation": "flp"}, "unknown augmentation 'flp'; did you mean"),
  "augmentation list": ({"augmentation": ["flip"] * 99}, "augmentation is <U4 of shape (99,)"),
  "augmentation number": ({"augmentation": 1}, "augmentation is int64 of shape ()"),
  # images
  "images 0-d": ({"images": np.uint8(3)}, "images of shape ()"),
  "images 0-d nan": ({"images": np.nan}, "images of shape ()"),
  "images 5-d": ({"images": IMAGES[..., None]}, "images have shape (20, 4, 4, 3, 1)"),
  "images signed": ({"images": IMAGES.view("i1")}, "images have dtype int8"),
  "images float16": ({"images": (IMAGES / 255).astype("f2")}, "images have dtype float16"),
  "images bool": ({"images": IMAGES > 9}, "images have dtype bool"),
  "images text": ({"images": IMAGES.astype("U3")}, "images have dtype <U3"),
  "images of records": ({"images": np.zeros(20, "u1,u1")}, "images have dtype [('f0', 'u1')"),
  "none": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "expected some pixels"),
  # what nothing reads
  "keep": ({"keep": np.arange(5)}, "holds 'keep', which is not read; known: augmentation, "),
  "classnames": ({"classnames": NAMES}, "which is not read; did you mean 'class_names'? known: "),
  "lables": ({"labels": None, "lables": LABELS}, "holds images, lables, num_train; expected"),
  "both": (HALVES, "holds images, labels, num_train and also test_images, test_labels, train_"),
}
HALVES_CASES = {
  "train_images 0-d": ({"train_images": np.uint8(1)}, "images of shape ()"),
  "test_images 0-d": ({"test_images": np.uint8(1)}, "images of shape ()"),
  "test_labels 0-d": ({"test_labels": np.int8(1)}, "labels of shape ()"),
  "test_labels 2-d": ({"test_labels": LABELS[15:, None]}, "train labels are int64 (), test labels"),
  "test_images flat": ({"test_images": IMAGES[15:].reshape(5, -1)}, "test images uint8 (48,)"),
  "test_images float": ({"test_images": IMAGES[15:] / 255}, "test images float64 (4, 4, 3)"),
  "signs that become floats": (
    {"test_labels": LABELS[15:].astype("u8")},
    "train labels are int64 (), test labels uint64 (); expected the same shape and type",
  ),
  "dates": ({"test_labels": LABELS[15:].astype("M8[D]")}, "test labels datetime64"),
  "test label 2**40": ({"test_labels": labelled(2**40, "i8")[5:10]}, "label 1099511627776 at"),
  "num_train": ({"num_train": 15}, "and also num_train; expected either images, labels and"),
  "no test": ({"test_images": None, "test_labels": None}, "holds train_images, train_labels;"),
}


def refuse(folder, path, message):
  """See one line of the right type, and no other file than the bad one."""
  with pytest.raises(DataError) as caught:
    data.load("npz", path=str(path))
  assert message in str(caught.value)
  assert "\n" not in str(caught.value)
  assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("case", [*WHOLE_CASES, *HALVES_CASES])
def test_wrong_arrays(tmp_path, case):
  good = WHOLE if case in WHOLE_CASES else HALVES
  changes, message = {**WHOLE_CASES, **HALVES_CASES}[case]
  path = tmp_path / "own.npz"
  arrays = {name: array for name, array in (good | changes).items() if array is not None}
  np.savez(path, **arrays)
  refuse(tmp_path, path, message)


def bytes_of(array, **options):
  file = io.BytesIO()
  np.save(file, array, **options)
  return file.getvalue()


def header(shape, descr="'|u1'"):
  """Return the beginning of an array of any shape, and not more."""
  text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
  text = text.ljust(117) + "\n"
  return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


GOOD = {f"{name}.npy": bytes_of(array) for name, array in WHOLE.items()}
PICKLED = bytes_of(np.array([object()] * 20), allow_pickle=True)
MEMBERS = {
  "58 TiB": (GOOD | {"images.npy": header((2**46, 1))}, "Unable to allocate"),
  "more than 2**64": (GOOD | {"images.npy": header((2**40, 2**40))}, "not a readable .npz"),
  "negative shape": (GOOD | {"images.npy": header((-20, 4))}, "not a readable .npz"),
  "header cut": (GOOD | {"images.npy": header((20, 4))[:60]}, "not a readable .npz"),
  "header no text": (GOOD | {"images.npy": header("((((")}, "not a readable .npz"),
  "header of another type": (GOOD | {"labels.npy": header((20,), "[()]")}, "not a readable .npz"),
  "data cut": (GOOD | {"images.npy": bytes_of(IMAGES)[:300]}, "not a readable .npz"),
  "pickled": (GOOD | {"labels.npy": PICKLED}, "Object arrays cannot be loaded"),
  "text member": (GOOD | {"readme.txt": b"hello"}, "its member 'readme.txt' is no array"),
  "images a text": (GOOD | {"images.npy": b"hello"}, "its member 'images' is no array"),
  "empty member": (GOOD | {"images.npy": b""}, "its member 'images' is no array"),
  "folder": (GOOD | {"deep/images.npy": GOOD["images.npy"]}, "holds 'deep/images', which is not"),
  "twice": (GOOD | {"images": GOOD["images.npy"]}, "two of its members have the same name"),
  "no member": ({}, "holds nothing"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_wrong_members(tmp_path, case):
  members, message = MEMBERS[case]
  path = tmp_path / "own.npz"
  with zipfile.ZipFile(path, "w") as file:
    for name, content in members.items():
      file.writestr(name, content)
  refuse(tmp_path, path, message)


def spoilt(place, after=b"", mask=0xFF):
  """Return a compressed file with bits of one byte turned, counted from where `after` begins."""
  file = io.BytesIO()
  np.savez_compressed(file, **WHOLE)
  content = bytearray(file.getvalue())
  content[content.find(after) + place] ^= mask
  return bytes(content)


ENTRY = b"PK\x01\x02"  # begins an entry of the zip's list of members


FILES = {
  "empty": b"",
  "text": b"images, labels\n",
  "one array": bytes_of(IMAGES),
  "a pickle": b"\x80\x04N.",
  "compressed byte": spoilt(200),
  "says that it is encrypted": spoilt(8, ENTRY, mask=1),
  "unknown compression": spoilt(10, ENTRY),
  "no end": spoilt(0, b"PK\x05\x06"),
}


@pytest.mark.parametrize("case", FILES)
def test_wrong_files(tmp_path, case):
  path = tmp_path / "own.npz"
  path.write_bytes(FILES[case])
  refuse(tmp_path, path, "is not a readable .npz file of plain arrays (")


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "~nobody-here/x.npz", "."])
def test_wrong_paths(tmp_path, monkeypatch, path):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(DataError, match="is not a readable") as caught:
    data.load("npz", path=path)
  assert "\n" not in str(caught.value)


def test_integers_of_any_type_and_size_are_the_same_labels(tmp_path):
  """What is refused above is refused for its value, not for its type."""
  path = tmp_path / "own.npz"
  for kind in ("u1", "i1", ">i2", "u4", "<i8", "u8"):
    np.savez(path, **WHOLE | {"labels": LABELS.astype(kind), "num_train": np.uint8(15)})
    dataset = data.load("npz", path=str(path))
    assert dataset.labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.labels, LABELS)
  np.savez(path, **HALVES | {"test_labels": LABELS[15:].astype("u1")})
  np.testing.assert_array_equal(data.load("npz", path=str(path)).labels, LABELS)


def test_named_classes_may_be_without_samples(tmp_path):
  path = tmp_path / "own.npz"
  np.savez(path, **WHOLE, class_names=np.array(["a", "b", "c", "d", "never seen"]))
  assert data.load("npz", path=str(path)).num_classes == 5


@pytest.mark.parametrize("case", ["label 2**64-1 u8", "num_train nan", "keep"])
def test_the_program_answers_in_one_line_and_writes_nothing(tmp_path, capsys, case):
  path = tmp_path / "own.npz"
  np.savez(path, **WHOLE | WHOLE_CASES[case][0])
  npz = ["--config.dataset=npz", f"--config.data.path={path}", "--config.data.random_labels=0"]
  assert sweeps.call(*sweeps.arguments(tmp_path, *npz)) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: data ") and WHOLE_CASES[case][1] in line
  assert list(tmp_path.iterdir()) == [path]
