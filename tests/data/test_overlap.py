"""Which samples two sets share, and when that is a mistake."""

import numpy as np
import pytest

from jaxmu.data.overlap import check_disjoint
from jaxmu.data.samples import Samples
from jaxmu.errors import DataError


def samples(count, seed, kind="f4"):
  rng = np.random.default_rng(seed)
  return Samples(rng.normal(size=(count, 4, 4, 1)).astype(kind), rng.integers(0, 3, count))


def joined(*parts):
  return Samples(*(np.concatenate(arrays) for arrays in zip(*parts)))


def part(whole, *places):
  return Samples(whole.x[list(places)], whole.y[list(places)])


def test_sets_that_share_nothing_are_disjoint():
  assert check_disjoint({"retain": samples(50, 0), "forget": samples(9, 1)}) == []
  assert check_disjoint({"retain": samples(50, 0)}) == []
  assert check_disjoint({}) == []


def test_a_shared_part_is_refused_and_the_first_pair_is_named():
  forget = samples(10, 1)
  retain = joined(samples(30, 0), part(forget, 4, 2))
  with pytest.raises(DataError) as caught:
    check_disjoint({"forget": forget, "retain": retain})
  assert str(caught.value) == (
    "forget and retain share 2 of the 10 samples of forget (forget 2 is retain 31); expected "
    "disjoint sets: take the shared samples out of one"
  )


def test_the_share_is_that_of_the_smaller_set():
  """Two of 400 forgotten samples are few; the same two would be many of 100."""
  retain = samples(2000, 0)
  few = check_disjoint({"forget": joined(samples(398, 1), part(retain, 7, 7)), "retain": retain})
  assert few == [
    "forget and retain share 2 of the 400 samples of forget (forget 398 is retain 7): few enough "
    "to be images that the data hold twice"
  ]
  with pytest.raises(DataError, match="share 2 of the 100 samples of validation"):
    check_disjoint({"retain": retain, "validation": joined(samples(98, 1), part(retain, 7, 8))})


@pytest.mark.parametrize(("size", "shared"), [(99, 1), (199, 2), (1, 1), (299, 3)])
def test_one_in_a_hundred_is_the_bound(size, shared):
  """So a set below 100 samples may share none."""
  retain, forget = samples(1000, 0), samples(size, 1)
  within = joined(part(forget, *range(shared, size)), part(retain, *range(shared)))
  with pytest.raises(DataError, match=f"share {shared} of the {size} samples"):
    check_disjoint({"retain": retain, "forget": within})
  more = joined(within, samples(100 * shared, 2))
  assert len(check_disjoint({"retain": retain, "forget": more})) == 1


def test_every_two_sets_are_compared():
  one, two, three = (samples(300, seed) for seed in range(3))
  sets = {
    "forget": joined(one, part(three, 0)),
    "retain": joined(two, part(one, 5)),
    "validation": three,
  }
  assert [sentence.split(" share ")[0] for sentence in check_disjoint(sets)] == [
    "forget and retain",
    "forget and validation",
  ]


def test_same_means_all_pixels_and_the_label():
  one = samples(50, 0)
  other_label = Samples(one.x, (one.y + 1) % 3)
  other_pixel = Samples(one.x + np.eye(4)[:, :, None].astype("f4") * 1e-6, one.y)
  for other in (other_label, other_pixel):
    assert check_disjoint({"retain": one, "forget": other}) == []


def test_types_do_not_hide_what_is_shared():
  """Trained on are float32 and int32, whatever was given."""
  one = samples(50, 0, "f8")
  other = Samples(one.x.astype("f4"), one.y.astype("u1"))
  with pytest.raises(DataError, match="share 50 of the 50"):
    check_disjoint({"retain": one, "forget": other})


def test_keys_that_collide_are_not_taken_for_samples(monkeypatch):
  monkeypatch.setattr("jaxmu.data.overlap.hash", lambda content: 0, raising=False)
  assert check_disjoint({"retain": samples(50, 0), "forget": samples(9, 1)}) == []
