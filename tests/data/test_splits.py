"""Splits name the same images as the reference: fixtures of spec data_models 3.3 and 3.4."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from jaxmu import data
from jaxmu.data import splits
from jaxmu.data.splits import custom_split, fixed_split, listed_split
from jaxmu.errors import DataError

# (train part, all): part -> first indices, last index, sum, start of the SHA-256
FIXED = {
  (60_000, 70_000): {
    "train": ([6462, 57602, 41806, 25360], 52734, 1529194129, "7d6b94c6d033f3ec"),
    "retain": ([2793, 8582, 56864, 20678], 21704, 1375001360, "1a45b723a06717c3"),
    "forget": ([12238, 20118, 23825, 29798], 53651, 154192769, "d41285006b08fa4c"),
    "val": ([29561, 26640, 24498, 24594], 23213, 270775871, "4a5f2ef69284bb59"),
    "test": ([60000, 60001, 60002, 60003], 69999, 649995000, "8d294bd1e8418920"),
  },
  (50_000, 60_000): {
    "train": ([7562, 44432, 16430, 33688], 15725, 1060848348, "0be2ceb32b8bfbc0"),
    "retain": ([30833, 48150, 4831, 11184], 44641, 953853915, "2d774d0b1d74cd9b"),
    "forget": ([33810, 44208, 6639, 25856], 41986, 106994433, "e9b620dfb49798b9"),
    "val": ([11872, 40828, 36400, 5166], 34283, 189126652, "b7f47c919b8a0b77"),
    "test": ([50000, 50001, 50002, 50003], 59999, 549995000, "ce9d2f664b42d0b7"),
  },
  (18_967, 23_708): {
    "train": ([14750, 16959, 16978, 8560], 15725, 152877519, "36b1c1150e9403ad"),
    "retain": ([2889, 9919, 10588, 11798], 16819, 137022447, "9f9926142fe0035c"),
    "forget": ([1216, 11795, 8470, 3484], 5569, 15855072, "1b95b8a5185f0ddd"),
    "val": ([3182, 12626, 11357, 2735], 5039, 26986542, "69a2b5abc2570a66"),
    "test": ([18967, 18968, 18969, 18970], 23707, 101158717, "66cec83841c0136c"),
  },
}
SIZES = {  # of train, retain, forget, val and test
  (60_000, 70_000): (51_000, 45_900, 5_100, 9_000, 10_000),
  (50_000, 60_000): (42_500, 38_250, 4_250, 7_500, 10_000),
  (18_967, 23_708): (16_121, 14_508, 1_613, 2_846, 4_741),
}
# U-LiRA: split -> train and held-out half; (split, attempt) -> forget
HALVES = {
  0: (
    ([36369, 29992, 32971], "2e9ec293f62d36e5"),
    ([20654, 3367, 49156], "3ef9097f0c9d3534"),
  ),
  1: (([24628, 48921, 49261], "e05cc85ac3bf2113"), ([4407, 5626, 4026], "b90497bc116c0ed9")),
  63: (([15908, 40396, 46492], "f7fc19dbb28323aa"), ([20977, 18303, 719], "725978d4a4786231")),
}
FORGET = {
  (0, 0): ([16130, 45508, 17503], "2cc5cf7ddb8d6f6f"),
  (0, 9): ([26716, 39535, 36207], "c9a492fd473376d3"),
  (1, 0): ([6876, 11122, 12022], "e68aa65f147f26b3"),
  (1, 9): ([12749, 41842, 24578], "24cf1ba6fcf7adcd"),
  (63, 0): ([42394, 4462, 39463], "320a681d32e11042"),
  (63, 9): ([10601, 44770, 46664], "5df9801ff614ea37"),
}
RETAIN = {
  (0, 0): ([20281, 45159, 17342], "3ca35f5fea9bf06c"),
  (63, 9): ([41647, 25068, 44566], "63e36a76d472dfe5"),
}


def sha(array):
  return hashlib.sha256(np.ascontiguousarray(array, "<i8").tobytes()).hexdigest()


def check(array, fixture):
  first, digest = fixture
  assert array.dtype == np.int64
  assert list(array[: len(first)]) == first
  assert sha(array).startswith(digest)


@pytest.mark.parametrize("sizes", FIXED)
def test_fixed_split_names_the_images_of_the_reference(sizes):
  split = fixed_split(*sizes)
  parts = ("train", "retain", "forget", "val", "test")
  assert split.sizes == dict(zip(parts, SIZES[sizes]))
  for part, (first, last, total, digest) in FIXED[sizes].items():
    array = getattr(split, part)
    check(array, (first, digest))
    assert array[-1] == last
    assert array.sum() == total


@pytest.mark.parametrize("fractions", [(0.15, 0.10), (0.2, 0.3), (0.01, 0.5)])
@pytest.mark.parametrize(("count", "seed"), [(11, 0), (100, 123), (997, 7), (1438, 123)])
def test_fixed_split_equals_scikit_learn(count, seed, fractions):
  val_fraction, forget_fraction = fractions
  split = fixed_split(
    count, count + 5, val_fraction=val_fraction, forget_fraction=forget_fraction, seed=seed
  )
  train, val = train_test_split(np.arange(count), test_size=val_fraction, random_state=seed)
  retain, forget = train_test_split(train, test_size=forget_fraction, random_state=seed)
  for part, expected in {"train": train, "val": val, "retain": retain, "forget": forget}.items():
    np.testing.assert_array_equal(getattr(split, part), expected)


def test_fixed_split_is_a_partition():
  split = fixed_split(100, 120)
  everything = np.concatenate([split.retain, split.forget, split.val, split.test])
  np.testing.assert_array_equal(np.sort(everything), np.arange(120))
  np.testing.assert_array_equal(np.sort(split.train), np.sort([*split.retain, *split.forget]))


def test_sha256_tells_splits_apart():
  digests = {
    fixed_split(100, 120).sha256,
    fixed_split(100, 121).sha256,
    fixed_split(100, 120, seed=7).sha256,
    fixed_split(100, 120, forget_fraction=0.2).sha256,
  }
  assert len(digests) == 4
  assert fixed_split(100, 120).sha256 in digests


@pytest.mark.skipif(
  "JAXMU_GOLDEN_DIR" not in os.environ, reason="JAXMU_GOLDEN_DIR is not set (golden parity data)"
)
def test_fixed_split_equals_golden_data():
  with np.load(Path(os.environ["JAXMU_GOLDEN_DIR"]) / "splits.npz") as golden:
    small = {key.split("/")[0] for key in golden if not key.startswith("big")}
    assert len(small) == 3
    for case in small:
      train, test, val_fraction, forget_fraction, seed = case.split("_")
      split = fixed_split(
        int(train),
        int(train) + int(test),
        val_fraction=float(val_fraction),
        forget_fraction=float(forget_fraction),
        seed=int(seed),
      )
      for part in splits.PARTS:
        np.testing.assert_array_equal(getattr(split, part), golden[f"{case}/{part}"])
    for sizes in FIXED:
      split = fixed_split(*sizes)
      for part in splits.PARTS:
        array, case = getattr(split, part), f"big_{sizes[0]}/{part}"
        np.testing.assert_array_equal(array[:16], golden[f"{case}_head"])
        assert (len(array), sha(array)) == (golden[f"{case}_len"], golden[f"{case}_sha256"])


def test_ulira_pool_and_validation():
  pool, val = splits.ulira_pool()
  check(pool, ([49045, 15732, 23996, 1613, 15458], "90a45c1142975d75"))
  check(val, ([34049, 9776, 1945, 32806, 30294], "8316277275d26970"))
  assert (len(pool), len(val)) == (47_500, 2_500)


@pytest.mark.parametrize("split", HALVES)
def test_ulira_splits(split):
  halves = splits.ulira_split(splits.ulira_pool()[0], split)
  for half, fixture in zip(halves, HALVES[split]):
    check(half, fixture)
    assert len(half) == 23_750


@pytest.mark.parametrize(("split", "attempt"), FORGET)
def test_ulira_attempts(split, attempt):
  train, _ = splits.ulira_split(splits.ulira_pool()[0], split)
  retain, forget = splits.ulira_attempt(train, attempt)
  check(forget, FORGET[split, attempt])
  if (split, attempt) in RETAIN:
    check(retain, RETAIN[split, attempt])
  assert (len(retain), len(forget)) == (21_375, 2_375)
  np.testing.assert_array_equal(np.sort([*retain, *forget]), np.sort(train))


@pytest.mark.parametrize("size", [5, 19])
def test_ulira_needs_enough_samples(size):
  with pytest.raises(DataError, match=f"at least 20 training samples; got {size}"):
    splits.ulira_pool(size)
  with pytest.raises(DataError, match="at least 10 samples per train half; got 5"):
    splits.ulira_attempt(np.arange(5), 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("name", ["val_fraction", "forget_fraction"])
def test_fractions_out_of_range_are_refused(name, fraction):
  with pytest.raises(DataError, match=f"{name} is {fraction}; expected a number between 0 and 1"):
    fixed_split(100, 120, **{name: fraction})


@pytest.mark.parametrize(
  ("sizes", "part"), [((0, 5), "train"), ((1, 2), "train"), ((2, 4), "retain"), ((50, 50), "test")]
)
def test_empty_parts_are_refused(sizes, part):
  with pytest.raises(DataError, match=f"the {part} set is empty"):
    fixed_split(*sizes)


def parts(**changes):
  return {"retain": [0, 1, 2], "forget": [3], "val": [4, 5], "test": [6, 7]} | changes


def test_custom_split_keeps_what_is_given():
  split = custom_split(**parts(), num_total=8)
  np.testing.assert_array_equal(split.train, [0, 1, 2, 3])
  np.testing.assert_array_equal(split.forget, [3])
  assert split.retain.dtype == np.int64
  given = custom_split(**parts(train=[3, 2, 1, 0]), num_total=8)
  np.testing.assert_array_equal(given.train, [3, 2, 1, 0])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"forget": [2]}, "the retain and forget sets overlap: 1 samples are in both, the first is 2"),
    ({"test": [4]}, "the val and test sets overlap"),
    ({"forget": []}, "the forget set is empty"),
    ({"val": [8]}, r"the val set contains index 8; expected 0\.\.7"),
    ({"val": [-1]}, "the val set contains index -1"),
    ({"val": np.uint64([2**64 - 1])}, "the val set contains index 18446744073709551615; expected"),
    ({"val": np.uint64([2**64 - 2**32])}, "the val set contains index 18446744069414584320;"),
    ({"val": [[4], [5, 6]]}, "the val set is no flat list; expected sample indices"),
    ({"val": np.array([0, 0, 0, 0, 1, 1, 0, 0], bool)}, "the val set has dtype bool"),
    ({"retain": [0, 1, 1]}, "the retain set contains index 1 2 times"),
    ({"retain": [0.5, 1.5]}, "the retain set has dtype float64"),
    ({"retain": [[0, 1]]}, r"the retain set has dtype int64, shape \(1, 2\)"),
    ({"train": [0, 1, 2]}, "the train set has 3 samples that are not retain"),
    ({"train": [0, 1, 2, 4]}, "expected their union"),
  ],
)
def test_custom_split_refuses(changes, message):
  with pytest.raises(DataError, match=message):
    custom_split(**parts(**changes), num_total=8)


def test_redrawn_splits_are_new_in_every_part_and_keep_the_sizes():
  base = data.fixed_split(1438, 1797)
  first, same, other = (data.redrawn_split(1438, 1797, seed=seed) for seed in (1, 1, 2))
  assert first.sizes == other.sizes == base.sizes
  assert first.sha256 == same.sha256 != other.sha256
  parts = [first.retain, first.forget, first.val, first.test]
  np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(1797))
  np.testing.assert_array_equal(np.sort(first.train), np.sort(np.concatenate(parts[:2])))
  assert 0 < np.isin(first.test, base.test).mean() < 0.5


def test_a_listed_forget_set_that_was_drawn_gives_the_drawn_split():
  drawn = fixed_split(1000, 1200, val_fraction=0.2, forget_fraction=0.1, seed=7)
  listed = listed_split(np.sort(drawn.forget), 1000, 1200, val_fraction=0.2, seed=7)
  np.testing.assert_array_equal(listed.val, drawn.val)
  for part in ("train", "retain", "forget", "test"):
    np.testing.assert_array_equal(np.sort(getattr(listed, part)), np.sort(getattr(drawn, part)))


def test_validation_samples_are_none_that_are_listed():
  forget = fixed_split(1000, 1200).val[:40]  # of those that would have been drawn
  split = listed_split(forget, 1000, 1200)
  assert split.sizes == {"train": 850, "retain": 810, "forget": 40, "val": 150, "test": 200}
  assert not np.isin(split.val, forget).any()
  assert len(np.intersect1d(split.val, fixed_split(1000, 1200).val)) == 110
  joined = np.concatenate([split.retain, split.forget, split.val, split.test])
  np.testing.assert_array_equal(np.sort(joined), np.arange(1200))
  assert split.sha256 == listed_split(forget, 1000, 1200).sha256
  assert split.sha256 != listed_split(forget, 1000, 1200, seed=124).sha256


@pytest.mark.parametrize(
  ("count", "total", "fraction", "message"),
  [
    (85, 120, 0.15, "85 of 100 training samples are to be forgotten and 15 held out"),
    (10, 120, 0.95, "10 of 100 training samples are to be forgotten and 95 held out"),
    (10, 100, 0.15, "the test set is empty"),
    (10, 120, 1.0, "val_fraction is 1.0; expected a number between 0 and 1"),
  ],
)
def test_listed_splits_with_an_empty_part_are_refused(count, total, fraction, message):
  with pytest.raises(DataError, match=message):
    listed_split(np.arange(count), 100, total, val_fraction=fraction)
