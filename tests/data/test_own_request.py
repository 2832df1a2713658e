"""A data file that names samples to forget and its classes, and what its headers say."""

import numpy as np
import pytest

from jaxmu import data
from jaxmu.data import npz_file, npz_outline, sizes
from jaxmu.data.chosen import load_for, splits_for
from jaxmu.data.requests import Facts
from jaxmu.errors import DataError, SettingsError
from jaxmu.settings import Settings
from jaxmu.studies import catalog

IMAGES = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 3), np.uint8)
LABELS = np.arange(80) % 4
NAMES = ["cat", "dog", "owl", "fox"]
WHOLE = {"images": IMAGES, "labels": LABELS}
HALVES = {
  "train_images": IMAGES[:60],
  "train_labels": LABELS[:60],
  "test_images": IMAGES[60:],
  "test_labels": LABELS[60:],
}
LAYOUTS = {"parted": WHOLE | {"num_train": 60}, "whole": WHOLE, "halves": HALVES}


@pytest.fixture
def save(tmp_path):
  def write(name="own.npz", **arrays):
    np.savez(tmp_path / name, **arrays)
    return str(tmp_path / name)

  return write


def settings(path, **sections):
  own = sections.pop("data", {})
  config = {"name": "x", "dataset": "npz", "model": {"name": "cnn"}, "seeds": 0, "methods": "ft"}
  return Settings.from_config(config | {"data": {"path": path} | own} | sections, catalog())


def forgotten(chosen):
  """Return the images that the one split forgets, and those that it trains on."""
  dataset = load_for(chosen)
  (split,) = splits_for(chosen, Facts.of(dataset))
  return tuple({dataset.images[k].tobytes() for k in part} for part in (split.forget, split.retain))


def training_samples(path):
  dataset = data.load("npz", path=path)
  return dataset.indices[: dataset.num_train]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["inside", "csv", "txt", "npy", "npz"])
def test_exactly_the_listed_samples_are_forgotten(layout, form, save, tmp_path):
  """By content, wherever the list stands and however the file is laid out."""
  listed = np.sort(training_samples(save(**LAYOUTS[layout])))[3:40:4]
  wanted = {IMAGES[k].tobytes() for k in listed}
  path = save(**LAYOUTS[layout], **({"forget": listed} if form == "inside" else {}))
  chosen = {}
  if form != "inside":
    chosen = {"forget": str(tmp_path / f"ids.{form}")}
    text = "\n".join(map(str, listed))
    write = {
      "csv": lambda file: (tmp_path / file).write_text(f"index\n{text}\n"),
      "txt": lambda file: (tmp_path / file).write_text(text),
      "npy": lambda file: np.save(tmp_path / file, listed),
      "npz": lambda file: np.savez(tmp_path / file, forget=listed),
    }
    write[form](f"ids.{form}")
  forget, retain = forgotten(settings(path, data=chosen))
  assert forget == wanted
  assert not forget & retain


def test_lists_differ_in_the_identity_and_their_place_does_not(save, tmp_path):
  one, other = np.arange(8), np.arange(1, 9)
  inside = settings(save("a.npz", **LAYOUTS["parted"], forget=one))
  np.save(tmp_path / "ids.npy", one[::-1])
  beside = settings(save("a.npz", **LAYOUTS["parted"]), data={"forget": str(tmp_path / "ids.npy")})
  another = settings(save("a.npz", **LAYOUTS["parted"], forget=other))
  drawn = settings(save("a.npz", **LAYOUTS["parted"]))
  assert inside.hash8 == beside.hash8
  assert len({inside.hash8, another.hash8, drawn.hash8}) == 3
  assert inside.data.forget == inside.data.path


def test_what_a_config_asks_for_comes_before_the_list_of_the_file(save, tmp_path):
  path = save(**LAYOUTS["parted"], forget=np.arange(8), classes=NAMES)
  np.save(tmp_path / "ids.npy", np.arange(20, 30))
  forget, _ = forgotten(settings(path, data={"forget": str(tmp_path / "ids.npy")}))
  assert forget == {IMAGES[k].tobytes() for k in range(20, 30)}
  rule = settings(path, scenario={"forget": "classes", "classes": "owl"})
  assert forgotten(rule)[0] < {image.tobytes() for image in IMAGES[LABELS == 2]}
  assert not settings(path, study="ulira", seeds=0).data.forget


@pytest.mark.parametrize(
  ("positions", "words"),
  [
    ([1, 60], r"own\.npz\[forget\], element 1: 60; is in the test part; expected 0\.\.59"),
    ([1, 1], r"own\.npz\[forget\], element 1: 1; stands in element 0 as well"),
    ([0.5], r"own\.npz\[forget\] holds float64 of shape \(1,\); expected whole numbers"),
  ],
)
def test_a_list_in_the_file_that_cannot_be_used(positions, words, save):
  with pytest.raises(DataError, match=words):
    forgotten(settings(save(**LAYOUTS["parted"], forget=np.array(positions))))


def test_an_archive_without_a_list_is_no_list(save):
  path = save(**WHOLE)
  with pytest.raises(DataError, match=r"own\.npz has no array 'forget'; expected the positions"):
    settings(path, data={"forget": path})


def test_classes_have_names_by_either_word(save):
  for word in npz_file.NAMES:
    assert data.load("npz", path=save(**WHOLE, **{word: NAMES})).class_names == tuple(NAMES)
  with pytest.raises(DataError, match="holds class_names and classes, two words for the names"):
    data.load("npz", path=save(**WHOLE, classes=NAMES, class_names=NAMES))


def test_a_strange_array_is_refused_by_all_names(save):
  with pytest.raises(DataError, match=r"'retain', which is not read; .*known: .*classes.*forget"):
    data.load("npz", path=save(**WHOLE, retain=np.arange(5)))


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_headers_say_the_sizes(layout, named, grey, save, monkeypatch):
  """And no image is read for them."""
  arrays = {
    name: array[..., 0] if grey and "images" in name else array
    for name, array in LAYOUTS[layout].items()
  }
  path = save(**arrays, **({"classes": [*NAMES, "emu"]} if named else {}))
  chosen = settings(path, data={"subset_train": 30, "subset_test": 9})
  dataset, read = load_for(chosen), npz_file.read

  def no_images(path, kind=npz_file.DATA, only=None):
    assert only is not None and not any("images" in name for name in only)
    return read(path, kind, only)

  monkeypatch.setattr(npz_file, "read", no_images)
  train, indices, *rest = sizes.dimensions(chosen)
  assert [train, *rest] == [30, (8, 8, dataset.channels), dataset.num_classes]
  np.testing.assert_array_equal(indices, dataset.indices)


@pytest.mark.parametrize(
  ("arrays", "words"),
  [
    ({"images": IMAGES}, "holds images; expected images and labels, or train_images"),
    ({"images": IMAGES[:, 0, 0], "labels": LABELS}, r"images have shape \(80, 3\); expected \[N"),
    (WHOLE | {"num_train": 99}, "num_train is 99; expected 1 to 79"),
    (WHOLE | {"labels": LABELS / 2}, "labels have dtype float64"),
  ],
)
def test_headers_of_something_else(arrays, words, save):
  with pytest.raises(DataError, match=words):
    npz_outline.read(save(**arrays))


def test_a_subset_is_no_larger_than_the_file(save):
  chosen = settings(save(**LAYOUTS["parted"]), data={"subset_train": 61})
  with pytest.raises(SettingsError, match=r"subset_train is 61; expected 0 .* or 1 to 60"):
    sizes.dimensions(chosen)
