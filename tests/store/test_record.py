"""The record of a study: groups written once, joined by their members, borrowed, remembered."""

import os
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from support import records

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import files
from jaxmu.store.groups import ALIVE, Cost, Expected, SignOfLife, read_marker
from jaxmu.store.record import Record


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return records.record(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def record(made, tmp_path):
  """Five seeds of FT in three groups, of which one lists its members backwards."""
  shutil.copytree(made.path, tmp_path / "run")
  return Record(tmp_path / "run")


def kernels(tree):
  return tree["params"]["head"]["kernel"][:, 0, 0].tolist()


def test_groups_are_joined_in_the_order_of_the_study(record):
  seeds = list(range(5))
  np.testing.assert_array_equal(record.logits("ft"), records.logits(seeds))
  phi, correct = record.scores("ft")
  np.testing.assert_array_equal(phi, records.logits(seeds)[..., 0])
  np.testing.assert_array_equal(correct, records.logits(seeds)[..., 0] % 7 < 3)
  assert (phi.dtype, correct.dtype) == (np.float32, bool)
  assert kernels(record.variables("ft")) == seeds
  assert record.variables("ft")["batch_stats"] == {}
  assert [member.at["seed"] for member in record.members("ft")] == seeds


@pytest.mark.parametrize(
  ("where", "seeds"),
  [
    ({"seed": 3}, [3]),
    ([{"seed": 3}, {"seed": 0}], [3, 0]),
    ([{"seed": 2}, {"seed": 2}, {"seed": 4}, {"seed": 2}], [2, 2, 4, 2]),  # repeats, one group
    ([{"seed": k} for k in (4, 4, 1, 3, 4)], [4, 4, 1, 3, 4]),  # repeats, three groups
    ([{"seed": 4}, {"seed": 2}], [4, 2]),  # as they lie
  ],
)
def test_members_are_chosen_and_ordered_by_their_coordinates(record, where, seeds):
  np.testing.assert_array_equal(record.logits("ft", where), records.logits(seeds))
  np.testing.assert_array_equal(record.scores("ft", where)[0], records.logits(seeds)[..., 0])
  assert kernels(record.variables("ft", where)) == seeds
  assert [row["seed"] for row in record.rows("ft", where)] == seeds


def test_a_mapping_chooses_all_members_that_it_fits(tmp_path):
  made = Record(tmp_path)
  at = [{"split": split, "forget": forget} for split in range(2) for forget in range(3)]
  made.expect("ft", [Expected(each, f"a{k}") for k, each in enumerate(at)])
  attempt = made.attempt("ft", "all")
  records.write(attempt, "ft", range(6))
  own = records.marker("ft", "all", records.expected(range(6)))
  members = tuple(replace(member, at=each) for member, each in zip(own.members, at))
  assert made.commit(attempt, replace(own, members=members))
  np.testing.assert_array_equal(made.logits("ft", {"split": 1}), records.logits([3, 4, 5]))
  np.testing.assert_array_equal(made.logits("ft", {"forget": 2}), records.logits([2, 5]))
  one = made.logits("ft", {"forget": 1, "split": 0})
  np.testing.assert_array_equal(one, records.logits([1]))


def test_a_study_grows_by_groups(record, tmp_path):
  """Twice the seeds: what is there stays, what is missing is named by its position."""
  grown = Record(tmp_path / "run")
  assert [member.at["seed"] for member in grown.expected["ft"]] == list(range(5))
  grown.expect("ft", records.expected(range(8)))
  assert grown.missing("ft") == [5, 6, 7]
  assert records.commit(grown, "ft", "5-7", (7, 5, 6))
  assert grown.missing("ft") == []
  np.testing.assert_array_equal(grown.logits("ft"), records.logits(range(8)))
  grown.write_expected()
  assert len(Record(tmp_path / "run").members("ft")) == 8
  # And fewer are asked for again: the others are left alone.
  grown.expect("ft", records.expected((6, 1)))
  np.testing.assert_array_equal(grown.logits("ft"), records.logits((6, 1)))
  assert len(grown.groups("ft")) == 4


def test_what_other_processes_finish_is_seen(record, tmp_path):
  other = Record(tmp_path / "run")
  record.expect("ft", records.expected(range(6)))
  assert record.missing("ft") == [5] and not record.has("ft", "5")
  records.commit(other, "ft", "5", (5,))
  assert record.has("ft", "5") and record.missing("ft") == []


def test_one_group_in_order_is_memory_mapped(tmp_path):
  made = records.record(tmp_path, groups=[range(5)])
  whole = made.logits("ft")
  assert isinstance(whole, np.memmap) and whole.shape == (5, records.SAMPLES, records.CLASSES)
  run = made.logits("ft", [{"seed": 2}, {"seed": 3}])
  assert isinstance(run, np.memmap)
  np.testing.assert_array_equal(run, records.logits([2, 3]))
  # Others are copies: nothing that is read can be written back.
  assert not whole.flags.writeable
  np.testing.assert_array_equal(made.logits("ft", [{"seed": 4}, {"seed": 1}])[0, 0, 0], 400)


def test_a_missing_member_is_one_line(record):
  record.expect("ft", records.expected(range(6)))
  for read in (record.logits, record.scores, record.variables, record.rows, record.curves):
    with pytest.raises(
      StoreError, match=r"stages/ft has no member seed 5; run the same command again"
    ) as error:
      read("ft")
    assert "\n" not in str(error.value)
  with pytest.raises(StoreError, match=r"^stage 'ft' has no member seed 9$"):
    record.logits("ft", [{"seed": 9}])
  with pytest.raises(StoreError, match="has no members of stage 'ga'"):
    record.logits("ga")
  with pytest.raises(StoreError, match="has no members of stage 'ft'"):
    record.logits("ft", {"seed": 9})


def test_groups_of_other_settings_are_passed_over(record):
  """The same seeds with another learning rate: other identities, other folders."""
  assert records.commit(record, "ft", "other", range(5), of="b", bonus=0.5)
  assert len(record.groups("ft")) == 4
  np.testing.assert_array_equal(record.logits("ft"), records.logits(range(5)))
  assert record.cost("ft").models == 5
  record.expect("ft", records.expected(range(5), of="b"))
  np.testing.assert_array_equal(record.logits("ft"), records.logits(range(5), 0.5))
  record.expect("ft", records.expected(range(5), of="c"))
  assert record.missing("ft") == list(range(5))


def test_the_first_attempt_wins(record):
  folder = record.folder("ft", "0-1")
  before = files.digests(folder)
  assert not records.commit(record, "ft", "0-1", (0, 1), bonus=0.5)
  assert files.digests(folder) == before
  assert sorted(os.listdir(folder.parent)) == ["0-1", "3", "4-2"]  # nothing of the second one


def test_a_member_of_two_groups_has_one_place(record):
  """As units of different sizes leave it: both hold the same numbers, one of them is read."""
  assert records.commit(record, "ft", "1-3", (1, 2, 3))
  np.testing.assert_array_equal(record.logits("ft"), records.logits(range(5)))
  assert len(record.rows("ft")) == 5


def test_half_an_attempt_is_no_group(record, tmp_path):
  attempt = record.attempt("ft", "8")
  records.write(attempt, "ft", (8,))
  assert Record(tmp_path / "run").groups("ft") == record.groups("ft")
  assert [group.group for group in record.groups("ft")] == ["0-1", "3", "4-2"]
  assert list(record.damaged()) == []


def test_rows_hold_coordinates_and_what_was_measured(record):
  records.commit(record, "ft", "9", (9,), failure="epoch 2 (steps 5-9)")
  record.expect("ft", records.expected((9, 2)))
  assert record.rows("ft") == [
    {
      "method": "ft",
      "seed": seed,
      "finite": not failed,
      "failed_steps": failed,
      "passes": 3.5,
      "RA": 0.5 + seed / 100,
    }
    for seed, failed in ((9, "epoch 2 (steps 5-9)"), (2, ""))
  ]


def test_curves_are_joined_epoch_by_epoch_in_the_order_of_the_study(record):
  record.expect("ft", records.expected((3, 2, 0)))
  rows = record.curves("ft")
  places = [(row["phase"], row["epoch"], row["seed"]) for row in rows]
  spans = (("warm-up", 1), ("train", 1), ("train", 2))
  assert places == [(*span, seed) for span in spans for seed in (3, 2, 0)]
  assert all(row["loss"] == row["seed"] + row["epoch"] / 8 for row in rows)
  assert list(rows[0]) == [
    *("stage", "seed", "phase", "epoch", "steps", "loss", "accuracy", "learning_rate")
  ]


def test_a_member_of_two_groups_has_one_curve(tmp_path):
  """A loan may bring members along that the run has already."""
  both = records.record(tmp_path / "run", groups=((0, 1), (1, 2)), seeds=range(3))
  seeds = [row["seed"] for row in both.curves("ft")]
  assert seeds == [0, 1, 2] * 3
  assert both.logits("ft").tolist() == records.logits(range(3)).tolist()


def test_cost_adds_up_the_groups_that_hold_members(record):
  assert record.cost("ft") == Cost(5, 6.0, 3.0, 1.5, 21.0, 12)
  record.expect("ft", records.expected((0, 3)))
  assert record.cost("ft") == Cost(3, 4.0, 2.0, 1.0, 14.0, 12)


def test_the_largest_size_is_remembered_for_each_stage(record, tmp_path):
  assert record.size("ft") == 0
  record.remember_size("ft", 12)
  record.remember_size("original", 3)
  again = Record(tmp_path / "run")
  assert (again.size("ft"), again.size("original"), again.size("ga")) == (12, 3, 0)
  assert len(again.groups("ft")) == 3
  path = tmp_path / "run" / "stages" / "ft" / ".size.json"
  path.write_text(path.read_text().replace("12", "13"))
  with pytest.raises(StoreError, match=r"size\.json is damaged .*; delete it and run") as error:
    again.size("ft")
  assert "\n" not in str(error.value)


def test_signs_of_life_are_those_of_unfinished_groups(record):
  sign = SignOfLife("far", 7, 1e9, "train", 2, 9, 3, 0.5)
  for stage, group in (("ft", "0-1"), ("ft", "5-6"), ("msg", "0-9")):
    files.write_json(record.legs(stage, group) / ALIVE, sign)
  (record.legs("ga", "0-9")).mkdir(parents=True)
  (record.legs("ga", "0-9") / ALIVE).write_text("{")  # cannot be: it is renamed whole
  assert list(record.signs_of_life()) == [("ft", "5-6", sign), ("msg", "0-9", sign)]
  record.clear_legs("ft", "5-6")
  assert list(record.signs_of_life()) == [("msg", "0-9", sign)]


@pytest.fixture
def sibling(record, tmp_path):
  """A run beside the first that asks for two seeds more, and the groups that it could borrow."""
  made = Record(tmp_path / "sibling")
  made.expect("ft", records.expected(range(7)))
  return made, [marker.parent for marker in made.siblings("ft")]


def test_a_sibling_borrows_groups_whose_bytes_it_shares(sibling, tmp_path):
  made, lenders = sibling
  assert [lender.name for lender in lenders] == ["0-1", "3", "4-2"]
  assert all(made.borrow("ft", lender) for lender in lenders)
  assert made.missing("ft") == [5, 6]
  np.testing.assert_array_equal(
    made.logits("ft", [{"seed": k} for k in range(5)]), records.logits(range(5))
  )
  for lender in lenders:
    own = made.folder("ft", lender.name)
    for name in read_marker(lender).files:
      assert (own / name).samefile(lender / name), name
    assert not (own / "marker.json").samefile(lender / "marker.json")
    assert read_marker(own).borrowed_from == "run"
  assert not made.borrow("ft", lenders[0])  # it is there
  assert list(made.damaged()) == []
  assert made.siblings("ga") == []


def test_what_was_borrowed_outlives_the_lender(sibling, tmp_path):
  made, lenders = sibling
  made.borrow("ft", lenders[2])
  shutil.rmtree(tmp_path / "run")
  assert kernels(made.variables("ft", [{"seed": 2}, {"seed": 4}])) == [2, 4]


@pytest.mark.parametrize("name", ["logits.npy", "marker.json", "variables/metadata.json"])
def test_a_damaged_group_is_not_borrowed(sibling, name):
  made, (lender, *_) = sibling
  content = (lender / name).read_bytes()
  (lender / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises((StoreError, CheckpointError), match=r"SHA-256") as error:
    made.borrow("ft", lender)
  assert "\n" not in str(error.value)
  assert made.groups("ft") == [] and made.missing("ft") == list(range(7))
  folder = made.path / "stages" / "ft"
  assert not folder.exists() or os.listdir(folder) == []  # nothing under private names


def test_readers_that_know_no_settings_find_who_is_asked_for(record, tmp_path):
  path = tmp_path / "run" / "members.json"
  before = path.stat().st_mtime_ns
  record.write_expected()
  assert path.stat().st_mtime_ns == before  # nothing new
  found = Record(tmp_path / "run")
  assert found.expected == {"ft": tuple(records.expected(range(5)))}
  assert jax.tree.leaves(found.variables("ft"))[0].shape == (5, 2, 3)
  path.write_bytes(path.read_bytes().replace(b'"a3"', b'"a4"'))
  with pytest.raises(StoreError, match=r"members\.json is damaged .*; delete it and run the same"):
    Record(tmp_path / "run")
