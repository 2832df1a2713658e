"""Streams against loops over lists: which positions, in which batches, in which order."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmu.data import streams
from jaxmu.errors import MethodError

KEY = jax.random.key(7)
BATCH = 8
ONE_SET = ("retain", "forget", "val")
# (retain, forget): below one batch, exactly one, whole batches, with a remainder, either longer
SIZES = [(5, 3), (8, 8), (24, 16), (27, 11), (11, 27), (22, 18), (13, 16), (3, 20)]


def sets(n_retain, n_forget):
  """Return positions in a data set that are neither contiguous nor sorted."""
  places = np.random.default_rng(1).permutation(200).astype(np.int32)
  return {
    "retain": places[:n_retain],
    "forget": places[n_retain : n_retain + n_forget],
    "val": places[100 : 100 + n_retain],
  }


def cut(sequence, size=BATCH):
  return [list(sequence[i : i + size]) for i in range(0, len(sequence), size)]


def naive(stream, index, size=BATCH):
  """One pass in stored order: lists of positions; the zip streams give (retain, forget) pairs."""
  if stream == "union":
    return cut([*index["retain"], *index["forget"]], size)
  if stream == "union_forget_first":
    return cut([*index["forget"], *index["retain"]], size)
  if stream == "zip_short":
    return list(zip(cut(index["retain"], size), cut(index["forget"], size)))
  if stream == "zip_cycle":
    return list(zip(cut(index["retain"], size), itertools.cycle(cut(index["forget"], size))))
  return cut(index[stream], size)


def batches(order):
  """Return the batches of a pass, full ones and the rest, as trees of NumPy arrays."""
  n = jax.tree.leaves(order.full)[0].shape[0]
  found = [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), order.full) for i in range(n)]
  return found + ([] if order.rest is None else [jax.tree.map(np.asarray, order.rest)])


def real(samples):
  """Return the positions that count."""
  chosen = slice(None) if samples.weight is None else samples.weight > 0
  return samples.index[chosen].tolist()


def plain(order):
  """Return a pass in the form that `naive` gives."""
  both = lambda batch: isinstance(batch, streams.Pair)
  return [tuple(map(real, b)) if both(b) else real(b) for b in batches(order)]


def flat(lists):
  return [position for each in lists for position in each]


def read(wanted):
  """Return every position that a naive pass reads, those of pairs too."""
  return flat(flat(batch) if isinstance(batch, tuple) else batch for batch in wanted)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("stream", streams.STREAMS)
def test_stored_order_equals_the_loop(stream, sizes):
  index = sets(*sizes)
  order = streams.order(stream, KEY, index, BATCH, shuffle=False)
  wanted = naive(stream, index)
  assert plain(order) == wanted
  lengths = {name: len(positions) for name, positions in index.items()}
  assert streams.steps(stream, lengths, BATCH) == len(wanted)
  assert streams.visits(stream, lengths, BATCH) == len(read(wanted))


@pytest.mark.parametrize("sizes", [(7, 6), (24, 16), (27, 11)])
@pytest.mark.parametrize("stream", [*ONE_SET, *streams.UNIONS])
def test_a_shuffled_pass_visits_every_sample_exactly_once(stream, sizes):
  index = sets(*sizes)
  order = streams.order(stream, KEY, index, BATCH)
  whole = flat(naive(stream, index))
  assert sorted(flat(plain(order))) == sorted(whole)
  assert (flat(plain(order)) == whole) == (stream == "val")  # validation data is never shuffled
  assert [len(batch) for batch in plain(order)] == [len(batch) for batch in naive(stream, index)]
  assert plain(streams.order(stream, KEY, index, BATCH)) == plain(order)
  other = streams.order(stream, jax.random.key(8), index, BATCH)
  assert (plain(other) == plain(order)) == (stream == "val")


def test_the_rest_has_its_own_shape_and_no_weights():
  order = streams.order("retain", KEY, sets(27, 11), BATCH)
  assert order.full.index.shape == (3, 8)
  assert order.rest.index.shape == (3,)
  assert order.full.weight is order.rest.weight is order.rest.origin is None
  assert streams.order("retain", KEY, sets(24, 11), BATCH).rest is None
  assert streams.order("retain", KEY, sets(5, 11), BATCH).full.index.shape == (0, 8)


@pytest.mark.parametrize("stream", streams.UNIONS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_union_flags_the_origin_of_every_sample(shuffle, stream):
  index = sets(27, 11)
  for batch in batches(streams.order(stream, KEY, index, BATCH, shuffle=shuffle)):
    wanted = np.isin(batch.index, index["forget"])
    np.testing.assert_array_equal(batch.origin, np.where(wanted, streams.FORGET, streams.RETAIN))


@pytest.mark.parametrize("stream", streams.UNIONS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_union_follows_an_injected_order_that_counts_retain_first(shuffle, stream):
  index = sets(9, 4)
  visit = np.random.default_rng(2).permutation(13)
  order = streams.order(stream, KEY, index, BATCH, shuffle=shuffle, union_order=visit)
  joined = [*index["retain"], *index["forget"]]
  assert flat(plain(order)) == [joined[place] for place in visit]
  origins = np.concatenate([batch.origin for batch in batches(order)])
  np.testing.assert_array_equal(origins, visit >= 9)


@pytest.mark.parametrize("sizes", [(27, 11), (11, 27), (22, 18), (8, 8)])
@pytest.mark.parametrize("stream", ["zip_short", "zip_cycle"])
def test_shuffled_pairs_equal_the_loop_over_their_own_permutations(stream, sizes):
  """The drawn orders are read off the pass itself; pairing, replay and lengths must follow."""
  index = sets(*sizes)
  found = plain(streams.order(stream, KEY, index, BATCH))
  turns = -(-sizes[1] // BATCH)
  drawn = {
    "retain": flat(retain for retain, _ in found),
    "forget": flat(forget for _, forget in found[:turns]),
  }
  for name, positions in drawn.items():
    assert len(set(positions)) == len(positions)
    assert set(positions) <= set(index[name].tolist())
    assert positions != index[name][: len(positions)].tolist()
  assert [(len(r), len(f)) for r, f in found] == [(len(r), len(f)) for r, f in naive(stream, index)]
  if stream == "zip_cycle":
    assert len(drawn["retain"]) == sizes[0]
    # What the first round did not reach (a shorter retain pass) plays no part in the replay.
    assert found == naive(stream, drawn)[: len(found)]


def test_cycled_forget_batches_are_replayed_in_the_same_order_with_their_padding():
  """40 retain samples make five batches, 11 forget samples two, the second with five of padding."""
  order = streams.order("zip_cycle", KEY, sets(40, 11), BATCH)
  assert order.rest is None
  forget = order.full.forget
  assert forget.index.shape == forget.weight.shape == (5, 8)
  for turn in range(5):
    weight = [1] * 8 if turn % 2 == 0 else [1] * 3 + [0] * 5
    np.testing.assert_array_equal(forget.weight[turn], weight)
    np.testing.assert_array_equal(forget.index[turn], forget.index[turn % 2])
  first_round = np.concatenate([forget.index[0], forget.index[1, :3]])
  assert sorted(first_round) == sorted(sets(40, 11)["forget"])
  assert order.full.retain.weight.min() == 1


@pytest.mark.parametrize("stream", ["zip_short", "zip_cycle"])
def test_retain_and_forget_are_shuffled_independently(stream):
  """Sets of equal size: one shared permutation would give both the same order of places."""
  index = {"retain": np.arange(24), "forget": np.arange(24)}
  found = plain(streams.order(stream, KEY, index, BATCH))
  assert flat(r for r, _ in found) != flat(f for _, f in found)


@pytest.mark.parametrize("n", [5, 8, 27])
@pytest.mark.parametrize("stream", [*ONE_SET, *streams.UNIONS])
def test_padding_changes_neither_samples_nor_order(stream, n):
  index = sets(n, n - 2)
  padded = streams.order(stream, KEY, index, BATCH, pad=True)
  assert padded.rest is None
  assert plain(padded) == plain(streams.order(stream, KEY, index, BATCH))
  whole = np.concatenate([[*index[s]] for s in sorted(streams.STREAMS[stream])])
  assert padded.full.weight.shape == padded.full.index.shape
  assert set(np.unique(padded.full.weight)) <= {0.0, 1.0}
  assert padded.full.weight.sum() == len(whole)
  assert np.isin(padded.full.index, whole).all()  # padding is real data, only without weight


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("shuffle", [False, True])
def test_padding_a_short_zip_changes_neither_pairs_nor_order(sizes, shuffle):
  index = sets(*sizes)
  padded = streams.order("zip_short", KEY, index, BATCH, shuffle=shuffle, pad=True)
  assert padded.rest is None
  assert plain(padded) == plain(streams.order("zip_short", KEY, index, BATCH, shuffle=shuffle))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("stream", streams.STREAMS)
def test_a_pass_is_uneven_where_full_batches_and_a_shorter_one_meet(stream, sizes):
  index = sets(*sizes)
  first = streams.STREAMS[stream] if stream.startswith("zip") else ()
  wanted = naive(stream, index)
  sides = [[len(b) for b in (w if first else (w,))] for w in wanted]
  shortest = {min(side) for side in sides}
  lengths = {name: len(positions) for name, positions in index.items()}
  if stream != "zip_cycle":  # always filled up
    assert streams.uneven(stream, lengths, BATCH) == (len(wanted) > 1 and min(shortest) < BATCH)


def test_orders_work_inside_a_compiled_function_over_members():
  """Every member of a population has its own key and its own split."""
  index = {"retain": jnp.stack([jnp.arange(11), jnp.arange(50, 61)])}
  keys = jax.random.split(KEY, 2)
  orders = jax.jit(jax.vmap(lambda k, i: streams.order("retain", k, i, BATCH)))(keys, index)
  for member in range(2):
    alone = streams.order("retain", keys[member], {"retain": index["retain"][member]}, BATCH)
    assert plain(jax.tree.map(lambda leaf, m=member: leaf[m], orders)) == plain(alone)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_steps_and_visits_equal_the_loop_for_any_sizes(n_retain, n_forget, size):
  index = {"retain": range(n_retain), "forget": range(n_forget), "val": range(n_forget)}
  lengths = {name: len(positions) for name, positions in index.items()}
  for stream in streams.STREAMS:
    wanted = naive(stream, index, size)
    assert streams.steps(stream, lengths, size) == len(wanted)
    assert streams.visits(stream, lengths, size) == len(read(wanted))


@pytest.mark.parametrize(
  "call",
  [
    lambda: streams.check("retian"),
    lambda: streams.order("retian", KEY, sets(5, 3), BATCH),
    lambda: streams.steps("retian", {"retain": 5}, BATCH),
    lambda: streams.visits("retian", {"retain": 5}, BATCH),
  ],
)
def test_an_unknown_stream_is_answered_with_the_known_ones(call):
  known = "forget, retain, union, union_forget_first, val, zip_cycle, zip_short"
  with pytest.raises(
    MethodError, match=f"^unknown stream 'retian'; did you mean 'retain'\\? known: {known}$"
  ):
    call()
