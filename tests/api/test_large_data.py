"""Samples as positions in one array, larger than what may be copied, or made batch by batch."""

import itertools

import jax
import numpy as np
import pytest
from support import problems
from support.user_networks import SMALL, Dropping, Stock, ft

import jaxmu
from jaxmu.api import placement
from jaxmu.data import on_host
from jaxmu.errors import DataError, UnlearningWarning

X, Y = problems.samples()
PLACES = {name: rows[0] for name, rows in problems.index().items()}
PLACES["validation"] = PLACES.pop("val")
STREAMED = ("ft", "msg", "ngplus")  # one stream, sums before it, pairs


class OnDisk:
  """An array as h5py has it: rows by slices and by strictly increasing positions."""

  def __init__(self, array, fails_after=10**9):
    self.array, self.shape, self.dtype, self.left = array, array.shape, array.dtype, fails_after

  def __getitem__(self, key):
    self.left -= 1
    if self.left < 0:
      raise OSError("the disk is gone")
    assert isinstance(key, slice) or (np.diff(key) > 0).all()
    return self.array[key]


@pytest.fixture
def readers(monkeypatch):
  """All readers of samples on the host, as they are made."""
  made, place = [], on_host.place

  def noted(rows, put):
    made.append(place(rows, put))
    return made[-1]

  monkeypatch.setattr(on_host, "place", noted)
  return made


def given(method):
  names = {"retain": "retain", "forget": "forget", "val": "validation"}
  return {names[name]: PLACES[names[name]] for name in jaxmu.unlearning.get(method).needs}


def pairs(places):
  return {name: (X[own], Y[own]) for name, own in places.items()}


def check_streamed(method, module, variables, **options):
  """Copied or read from the host, as positions or as pairs: the same bits."""
  places, how = given(method), {"key": 3, **options, **problems.TABLE[method].small}
  wanted = jaxmu.unlearn(method, module, variables, **pairs(places), **how)
  found = jaxmu.unlearn(
    method, module, variables, data=(OnDisk(X), Y), memory_limit=0, **places, **how
  )
  assert problems.equal(found, wanted)
  assert not problems.equal(found, variables)


@pytest.mark.parametrize("method", STREAMED)
def test_samples_that_stay_on_the_host_give_the_same_bits(method, stock, readers):
  check_streamed(method, Stock(), stock)
  assert readers[0].reader.ahead > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::jaxmu.errors.UnlearningWarning")  # of what the network lacks
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("method", sorted({*jaxmu.methods(), "original", "retrained"}))
def test_they_do_for_every_method(method, shuffle, stock):
  check_streamed(method, Stock(), stock, shuffle=shuffle)


@pytest.mark.slow
def test_dropout_is_that_of_copied_samples(dropping):
  """Masks of a preparation depend on where a sample stands among those of the method."""
  check_streamed("msg", Dropping(), dropping)


def test_every_batch_of_an_epoch_is_read_ahead(stock, readers):
  places = {"retain": PLACES["retain"]}
  ft(stock, {}, data=(X, Y), memory_limit=0, **places)
  (one,) = readers
  assert one.reader.ahead == -(-len(PLACES["retain"]) // SMALL["batch_size"])


def test_positions_masks_and_pairs_are_the_same(stock, tmp_path):
  np.save(tmp_path / "x.npy", X)
  places = np.sort(PLACES["retain"])
  mask = np.isin(np.arange(len(X)), places)
  wanted = ft(stock, {}, retain=(X[places], Y[places]))
  mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
  for x, retain in ((X, places.tolist()), (mapped, mask), (OnDisk(X), places)):
    assert problems.equal(ft(stock, {}, data=(x, Y), retain=retain), wanted)


def test_pairs_beyond_the_limit_stay_where_they_are(stock, readers):
  sets = pairs({name: PLACES[name] for name in ("retain", "forget")})
  size = sets["retain"][0].nbytes
  assert problems.equal(
    ft(stock, {}, **sets, memory_limit=size - 1), ft(stock, {}, **sets, memory_limit=size)
  )
  assert len(readers) == 1


@pytest.mark.parametrize("batch", [7, 500])
def test_predictions_of_what_stays_on_the_host(batch, stock, readers):
  wanted = jaxmu.predict(Stock(), stock, X, batch_size=batch)
  found = jaxmu.predict(Stock(), stock, OnDisk(X), batch_size=batch, memory_limit=0)
  np.testing.assert_array_equal(found, wanted)
  np.testing.assert_array_equal(jaxmu.predict(Stock(), stock, OnDisk(X), batch_size=batch), wanted)
  assert [one.reader.ahead for one in readers] == [-(-len(X) // batch)]


def test_requests_are_positions_as_well(stock):
  first, second, *rest = np.split(PLACES["retain"], [3, 7])
  asked = {"retain": rest[0], "requests": [first, second]}
  found = jaxmu.unlearn_requests("ft", Stock(), stock, data=(OnDisk(X), Y), **asked, **SMALL)
  wanted = jaxmu.unlearn_requests(
    "ft",
    Stock(),
    stock,
    retain=(X[rest[0]], Y[rest[0]]),
    requests=[(X[own], Y[own]) for own in (first, second)],
    **SMALL,
  )
  for one, other in itertools.zip_longest(found, wanted):
    assert problems.equal(one, other)


def test_batches_are_read_once_and_said_to_be(stock):
  places = PLACES["retain"]
  batches = ((X[own], Y[own]) for own in np.array_split(places, 4))
  with pytest.warns(UnlearningWarning, match="^retain was read once into a temporary") as caught:
    found = ft(stock, {}, retain=batches)
  assert caught[0].filename.endswith("user_networks.py")  # whose line called
  assert problems.equal(found, ft(stock, {}, retain=(X[places], Y[places])))


@pytest.mark.parametrize(
  ("wrong", "words"),
  [
    ({"data": X}, r"data must be a pair \(x, y\), got ndarray"),
    ({"data": (X, Y[:3])}, r"data: labels have shape \(3,\); expected \(\d+,\)"),
    ({"data": (X[:0], Y[:0])}, r"data: samples must have shape \[n >= 1"),
    ({"retain": (X[:9], Y[:9])}, r"retain is a pair \(x, y\), beside data="),
    ({"retain": [0, 999]}, "retain holds position 999"),
    ({"forget": [0, 3]}, "retain and forget share 1 positions, the first is 0"),
    ({"memory_limit": -1}, "memory_limit must be a whole number at least 0 .*, got -1"),
    ({"memory_limit": "2GB"}, "memory_limit must be a whole number of bytes, got '2GB'"),
    (
      {"data": (X * np.where(Y < 9, np.nan, 1)[:, None, None, None], Y)},
      "retain: 3 images hold NaN",
    ),
  ],
)
def test_what_does_not_belong_together_is_refused(wrong, words, stock, uncompiled):
  usual = {"data": (X, Y), "retain": [0, 1, 2]}
  with pytest.raises(DataError, match=words):
    ft(stock, {}, **{**usual, **wrong})


def test_a_disk_that_fails_is_one_line(stock):
  broken = OnDisk(X, fails_after=2)  # after its form and all checks
  with pytest.raises(DataError, match=r"samples cannot be read \(OSError: the disk is gone\)"):
    ft(stock, {}, data=(broken, Y), retain=PLACES["retain"], memory_limit=0)


def test_what_is_copied_by_default(monkeypatch):
  """A quarter of a machine's memory, and never more than a gigabyte of a file."""
  (cpu,) = jax.devices("cpu")[:1]
  monkeypatch.setattr(placement.memory, "free_on_host", lambda: 2**31)
  assert placement.allowed(cpu) == 2**29
  monkeypatch.setattr(placement.memory, "free_on_host", lambda: 2**40)
  assert placement.allowed(cpu) == 2**30


def test_an_accelerator_lends_half_of_what_is_free():
  class Accelerator:
    platform = "gpu"

    def memory_stats(self):
      return {"bytes_limit": 1000, "bytes_in_use": 200}

  assert placement.allowed(Accelerator()) == 400
