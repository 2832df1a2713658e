"""Data sets that need no download, the user's own files, and the checks that all of them pass."""

import dataclasses
import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxmu import data
from jaxmu.data import arrays, datasets
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
LABELS = np.arange(20) % 3


@pytest.fixture
def save(tmp_path):
  """Write an npz file and load it as a data set."""

  def write_and_load(**contents):
    path = tmp_path / "own.npz"
    np.savez(path, **contents)
    return data.load("npz", path=str(path))

  return write_and_load


def test_digits_are_the_source_scaled_to_bytes():
  digits = data.load("digits")
  source = load_digits()
  order = np.random.default_rng(123).permutation(1797)
  assert digits.num_train == 1797 - 359
  np.testing.assert_array_equal(digits.labels, source.target[[*order[359:], *order[:359]]])
  first = source.images[order[359]]
  np.testing.assert_array_equal(digits.images[0, ..., 0], np.round(first * 255 / 16))
  assert digits.images.max() == 255
  assert (digits.num_classes, digits.image_size, digits.channels) == (10, 8, 1)
  assert digits.augmentation == "none"


def test_digits_constants_are_those_of_the_train_part():
  digits = data.load("digits")
  mean, std = arrays.channel_statistics(digits.images[: digits.num_train])
  np.testing.assert_allclose(digits.mean, mean, atol=5e-5)
  np.testing.assert_allclose(digits.std, std, atol=5e-5)


@pytest.mark.parametrize("name", ["digits", "synthetic", "identities"])
def test_forms_of_the_arrays(name):
  dataset = data.load(name)
  count = len(dataset.images)
  assert dataset.images.dtype == np.uint8
  assert (dataset.labels.dtype, dataset.labels.shape) == (np.int32, (count,))
  np.testing.assert_array_equal(dataset.indices, np.arange(count))
  np.testing.assert_array_equal(dataset.original_labels, dataset.labels)
  assert len(dataset.mean) == len(dataset.std) == dataset.channels
  assert dataset.sha256 == data.load(name).sha256


def test_identities_of_the_test_part_are_seen_nowhere_else():
  made = data.load("identities")
  assert made.images.shape == (1440, 16, 16, 1) and made.num_train == 1152
  train, test = np.split(made.groups, [1152])
  assert not set(train) & set(test)
  assert set(np.bincount(made.groups)) == {12} and len(set(test)) == 24
  of_group = [set(made.labels[made.groups == g].tolist()) for g in range(120)]
  assert all(len(found) == 1 for found in of_group)  # a person does not change its class
  assert np.bincount(made.labels[:1152]).tolist() == [144] * 8
  assert np.bincount(made.labels[1152:]).tolist() == [36] * 8


def test_an_identity_is_more_than_its_class():
  """The images of a person are alike, and more so than those of a class."""
  made = data.load("identities")
  x = made.images.reshape(1440, -1).astype(float)
  of_person = np.stack([x[made.groups == g].mean(0) for g in range(120)])[made.groups]
  of_class = np.stack([x[made.labels == c].mean(0) for c in range(8)])[made.labels]
  around = [np.square(x - centre).mean() for centre in (of_person, of_class, x.mean())]
  assert around[0] < 0.75 * around[1] and around[1] < 0.95 * around[2]


def test_groups_of_ones_own_data_follow_their_samples(save):
  groups = np.arange(20) // 2
  whole = save(images=IMAGES, labels=LABELS, num_train=15, groups=groups)
  np.testing.assert_array_equal(whole.groups, groups)
  drawn = save(images=IMAGES, labels=LABELS, groups=groups)  # a test part is drawn
  np.testing.assert_array_equal(drawn.groups, groups[drawn.indices])
  halves = {"train_images": IMAGES[:15], "train_labels": LABELS[:15]}
  halves |= {"test_images": IMAGES[15:], "test_labels": LABELS[15:]}
  both = save(**halves, train_groups=groups[:15], test_groups=groups[15:])
  np.testing.assert_array_equal(both.groups, groups)
  assert save(images=IMAGES, labels=LABELS).groups is None
  kept = data.subset(whole, 5, 2)
  np.testing.assert_array_equal(kept.groups, groups[kept.indices])


@pytest.mark.parametrize(
  ("more", "words"),
  [
    (
      {"groups": np.arange(7)},
      r"groups are int64 of shape \(7,\); expected a whole number for each",
    ),
    ({"groups": np.arange(20) - 1}, "groups reach from -1 to 18"),
    ({"groups": np.arange(20) / 2}, "groups are float64"),
    ({"train_groups": np.arange(20)}, "and also train_groups"),
  ],
)
def test_groups_that_are_none(save, more, words):
  with pytest.raises(DataError, match=words):
    save(images=IMAGES, labels=LABELS, **more)


def test_groups_of_one_half_only(save):
  halves = {"train_images": IMAGES[:15], "train_labels": LABELS[:15]}
  halves |= {"test_images": IMAGES[15:], "test_labels": LABELS[15:]}
  with pytest.raises(DataError, match="holds train_groups and no test_groups"):
    save(**halves, train_groups=np.arange(15))
  with pytest.raises(DataError, match=r"test_groups has shape \(4,\)"):
    save(**halves, train_groups=np.arange(15), test_groups=np.arange(4))


def test_sha256_covers_images_and_labels():
  dataset = data.load("synthetic")
  labels = dataset.labels.copy()
  labels[0] = (labels[0] + 1) % 4
  raw = dataset.images.tobytes() + dataset.labels.tobytes()
  assert dataset.sha256 == hashlib.sha256(raw).hexdigest()
  assert dataclasses.replace(dataset, labels=labels).sha256 != dataset.sha256


def test_synthetic_follows_its_options_and_can_be_learnt():
  made = datasets.synthetic(num_train=60, num_test=30, num_classes=3, image_size=6, channels=1)
  assert made.images.shape == (90, 6, 6, 1)
  assert made.num_train == 60
  assert np.bincount(made.labels).tolist() == [30, 30, 30]
  flat = made.images.reshape(90, -1).astype(float)
  centres = np.stack([flat[:60][made.labels[:60] == c].mean(0) for c in range(3)])
  nearest = ((flat[60:, None] - centres) ** 2).sum(-1).argmin(1)
  assert (nearest == made.labels[60:]).mean() > 0.9
  assert datasets.synthetic(seed=1).sha256 != datasets.synthetic(seed=2).sha256


def test_channel_statistics_equal_numpy():
  mean, std = arrays.channel_statistics(IMAGES)
  np.testing.assert_allclose(mean, (IMAGES / 255).mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(std, (IMAGES / 255).std((0, 1, 2)), rtol=1e-12)


def test_unknown_data_set_names_the_closest():
  with pytest.raises(DataError, match="unknown data set 'cifa10'; did you mean 'cifar10'"):
    data.load("cifa10")


def test_npz_with_num_train_keeps_the_order(save):
  dataset = save(images=IMAGES, labels=LABELS, num_train=15)
  np.testing.assert_array_equal(dataset.images, IMAGES)
  np.testing.assert_array_equal(dataset.indices, np.arange(20))
  assert (dataset.num_train, dataset.num_classes) == (15, 3)
  np.testing.assert_allclose(dataset.mean, (IMAGES[:15] / 255).mean((0, 1, 2)))


def test_npz_without_num_train_is_split_and_indices_lead_back(save):
  dataset = save(images=IMAGES, labels=LABELS)
  assert dataset.num_train == 16
  np.testing.assert_array_equal(dataset.images, IMAGES[dataset.indices])
  np.testing.assert_array_equal(dataset.labels, LABELS[dataset.indices])
  np.testing.assert_array_equal(np.sort(dataset.indices), np.arange(20))


def test_npz_with_four_arrays_and_options(save):
  dataset = save(
    train_images=IMAGES[:12, ..., 0],
    train_labels=LABELS[:12],
    test_images=IMAGES[12:, ..., 0],
    test_labels=LABELS[12:],
    mean=0.5,
    std=0.25,
    class_names=np.array(["a", "b", "c", "d"]),
    augmentation="flip",
  )
  assert dataset.images.shape == (20, 4, 4, 1)
  assert (dataset.num_train, dataset.mean, dataset.std) == (12, (0.5,), (0.25,))
  assert dataset.class_names == ("a", "b", "c", "d")
  assert dataset.augmentation == "flip"


def with_nan():
  images = IMAGES / 255.0
  images[[3, 4], 0, 0, 0] = np.nan
  return images


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"images": IMAGES / 255}, "images have dtype float64; expected uint8 .* convert"),
    ({"images": with_nan()}, "2 of 20 images contain NaN"),
    ({"images": IMAGES.astype(np.int32)}, "images have dtype int32; expected uint8"),
    ({"images": IMAGES[..., :2]}, r"shape \(20, 4, 4, 2\); expected \[N, H, W, 1 or 3\]"),
    ({"images": IMAGES[:, None]}, r"shape \(20, 1, 4, 4, 3\); .* channels come last"),
    ({"images": IMAGES.reshape(20, -1)}, r"shape \(20, 48\)"),
    ({"images": IMAGES[:, :0, :0]}, "expected some pixels"),
    ({"images": IMAGES[:19]}, "expected one label per image"),
    ({"labels": LABELS[:, None]}, r"labels have shape \(20, 1\); expected \(20,\)"),
    ({"labels": LABELS / 1}, "labels have dtype float64; expected integers"),
    ({"labels": LABELS - 1}, r"label -1 at position 0 is out of range; expected 0\.\.C-1"),
    ({"labels": LABELS * 0 + 1}, "all labels are 1; expected at least 2 classes"),
    ({"class_names": np.array(["a", "b"])}, r"label 2 at position 2 .* expected 0\.\.1"),
    ({"num_train": 20}, "num_train is 20; expected 1 to 19"),
    ({"num_train": 0}, "num_train is 0"),
    ({"mean": [0.1, 0.2]}, "mean is .* expected 3 finite numbers"),
    ({"mean": np.nan}, "mean is .* expected 3 finite numbers"),
    ({"std": 0.0, "mean": 0.5}, "std is .* expected positive"),
    ({"images": IMAGES * 0}, "std is .*are all pixels of a channel alike"),
    ({"augmentation": "flp"}, "unknown augmentation 'flp'; did you mean 'flip'"),
  ],
)
def test_arrays_of_the_wrong_form_are_refused(save, changes, message):
  contents = {"images": IMAGES, "labels": LABELS, "num_train": 15} | changes
  with pytest.raises(DataError, match=message) as caught:
    save(**contents)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("contents", "message"),
  [
    ({"pictures": IMAGES}, "holds pictures; expected images and labels, or train_images"),
    ({}, "holds nothing"),
  ],
)
def test_npz_with_other_keys_is_refused(save, contents, message):
  with pytest.raises(DataError, match=message):
    save(**contents)


def test_npz_halves_must_match(save):
  halves = {"train_images": IMAGES, "train_labels": LABELS, "test_labels": LABELS}
  with pytest.raises(DataError, match=r"train images are uint8 \(4, 4, 3\), test images uint8 \(2"):
    save(**halves, test_images=IMAGES[:, :2, :2])
  with pytest.raises(DataError, match="expected one label per image"):
    save(**halves | {"train_labels": LABELS[:19]}, test_images=np.concatenate([IMAGES, IMAGES[:1]]))


def test_npz_file_must_be_there_and_readable(tmp_path):
  with pytest.raises(DataError, match=r"needs a file; got no path: set --config\.data\.path"):
    data.load("npz")
  with pytest.raises(DataError, match="does not exist"):
    data.load("npz", path=str(tmp_path / "none.npz"))
  torn = tmp_path / "torn.npz"
  np.savez(torn, images=IMAGES, labels=LABELS)
  torn.write_bytes(torn.read_bytes()[:500])
  with pytest.raises(DataError, match=r"is not a readable \.npz file"):
    data.load("npz", path=str(torn))
  np.savez(torn, images=np.array([object()]), labels=LABELS)
  with pytest.raises(DataError, match=r"is not a readable \.npz file"):
    data.load("npz", path=str(torn))
  np.save(tmp_path / "single.npy", IMAGES)
  with pytest.raises(DataError, match=r"is not a readable \.npz file"):
    data.load("npz", path=str(tmp_path / "single.npy"))
