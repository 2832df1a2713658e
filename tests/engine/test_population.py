"""The engine: members laid out over devices, one program for all, and nothing between devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P
from support import problems

from jaxmu.engine.population import AXIS, Population, fold_keys, member_keys
from jaxmu.errors import UserError
from jaxmu.execution import members, programs
from jaxmu.training.epoch import NEVER, NO_LIMIT
from jaxmu.unlearning import get

LAYOUTS = [(1, 1, 1), (1, 2, 1), (3, 2, 1), (3, 1, 2), (3, 2, 2), (3, 2, 4), (5, 2, 2), (4, 2, 2)]
COLLECTIVES = ("all-reduce", "all-gather", "collective-permute", "all-to-all", "reduce-scatter")


def population(size, devices=1, chunk=1):
  return Population(size, chunk, tuple(jax.devices()[:devices]))


def iterate(state, constant, shared):
  """A toy member with scans inside, one of them over its own data: s <- tanh(s w + row + e)."""

  def step(s, row):
    return jnp.tanh(s @ constant["w"] + row + shared["epoch"]), jnp.sum(s)

  first, sums = lax.scan(step, state["s"], constant["rows"])
  second = lax.fori_loop(0, 3, lambda i, s: s - 0.1 * jnp.sin(s) * i, first)
  out = {"sums": sums, "doubled": 2 * constant["w"]}
  return {"s": second, "count": state["count"] + 1}, out


def toy(size):
  """Return (state, constant, shared) of `size` members, NumPy."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=(5, *shape)).astype(np.float32)[:size]
  state = {"s": draw(4), "count": np.arange(size, dtype=np.int32)}
  return state, {"w": draw(4, 4), "rows": draw(6, 4)}, {"epoch": np.float32(0.5)}


def run_toy(who, program=None):
  program = program or who.map(iterate)
  state, constant, shared = toy(who.size)
  return who.collect(program(who.place(state), who.place(constant), who.share(shared)))


def member(tree, k):
  return jax.tree.map(lambda leaf: leaf[k], tree)


@pytest.mark.parametrize(("size", "devices", "chunk"), LAYOUTS)
def test_place_and_collect_are_inverse_and_counts_cover_every_member(size, devices, chunk):
  who = population(size, devices, chunk)
  tree = {"a": np.arange(size * 3).reshape(size, 3), "b": np.arange(size)}
  placed = who.place(tree)
  assert placed["a"].shape == (who.padded, 3)
  assert who.padded == who.local * devices >= size
  assert who.local % chunk == 0
  for shard in placed["b"].addressable_shards:
    assert shard.data.shape == (who.local,)
  # Free places repeat the last member, so that they compute something harmless.
  np.testing.assert_array_equal(placed["b"][size:], [size - 1] * (who.padded - size))
  assert jax.tree.all(jax.tree.map(np.array_equal, who.collect(placed), tree))
  np.testing.assert_array_equal(who.place(placed)["a"], placed["a"])
  chunks = np.arange(who.padded).reshape(devices, -1, chunk)
  assert who.counts.tolist() == [sum(first[0] < size for first in each) for each in chunks]


@pytest.mark.parametrize(
  ("size", "room", "devices", "chunk"),
  [(1, 2, 1, 1), (2, 4, 2, 1), (1, 3, 2, 1), (3, 8, 2, 2), (1, 5, 1, 2), (5, 2, 2, 1)],
)
def test_a_population_with_room_has_the_places_of_the_larger_one(size, room, devices, chunk):
  who = Population(size, chunk, tuple(jax.devices()[:devices]), room)
  full = population(max(size, room), devices, chunk)
  assert who.frame == full.frame
  tree = {"a": np.arange(size * 3).reshape(size, 3)}
  placed = who.place(tree)
  assert placed["a"].shape == (full.padded, 3)
  np.testing.assert_array_equal(who.collect(placed)["a"], tree["a"])
  # Every member lies in a chunk that is computed, and no chunk without members is.
  chunks = np.asarray(placed["a"][:, 0] // 3).reshape(devices, -1, chunk)
  computed = [set(row[:count].ravel()) for row, count in zip(chunks, who.counts)]
  assert set().union(*computed) == set(range(size))
  assert sum(who.counts) == -(-size // chunk)
  assert max(who.counts) == -(-size // chunk // devices)  # shared out evenly


@pytest.mark.parametrize("devices", [1, 2])
def test_members_with_room_give_the_bits_of_the_larger_population(devices):
  """Five members in groups of two, two and one: the last one has the places of two."""
  whole, layout = population(5, devices), tuple(jax.devices()[:devices])
  state, constant, shared = toy(5)
  expected = run_toy(whole)
  program = population(2, devices).frame.map(iterate)
  for start in (0, 2, 4):
    part = slice(start, min(start + 2, 5))
    who = Population(part.stop - part.start, 1, layout, room=2)
    own = [who.place(jax.tree.map(lambda leaf, p=part: leaf[p], t)) for t in (state, constant)]
    found = who.collect(program(*own, who.share(shared), who))
    jax.tree.map(lambda a, b, p=part: np.testing.assert_array_equal(a, b[p]), found, expected)
  assert len(program._compiled) == 1  # one executable for all groups


@pytest.mark.parametrize(
  ("size", "devices", "chunk"), [(1, 1, 1), (5, 1, 1), (5, 1, 2), (5, 1, 5), (5, 2, 1), (5, 2, 2)]
)
def test_a_program_equals_a_loop_over_members(size, devices, chunk):
  state, out = run_toy(population(size, devices, chunk))
  alone = jax.jit(iterate)
  given, constant, shared = toy(size)
  for k in range(size):
    wanted = alone(member(given, k), member(constant, k), shared)
    found = member((state, out), k)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6), found, wanted)
  assert state["count"].tolist() == list(range(1, size + 1))


def test_one_and_three_members_give_equal_bits():
  """XLA inlines a loop that it knows to run once, and then rounds otherwise."""
  one, three = run_toy(population(1)), run_toy(population(3))
  spread = run_toy(population(3, devices=2))
  assert jax.tree.all(jax.tree.map(np.array_equal, member(three, 0), member(one, 0)))
  assert jax.tree.all(jax.tree.map(np.array_equal, three, spread))


def test_the_trip_count_is_an_argument_of_the_program():
  """The guard behind the test above: the loop over chunks stays in the compiled program."""
  who = population(1)
  identity = who.map(lambda state, constant, shared: (jnp.sin(state), ()))
  text = identity.compile(who.place(np.ones((1, 4))), (), ()).as_text()
  assert " while(" in text


def test_only_the_state_is_donated():
  """An output of the constants' own shape could take their place, and must not."""
  who = population(3, devices=2)
  state, constant, shared = toy(3)
  state, constant, shared = who.place(state), who.place(constant), who.share(shared)
  who.map(iterate)(state, constant, shared)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((constant, shared)))


def test_compiles_once_per_shape():
  """The number of the epoch and other values are arguments; only new shapes trace again."""
  who = population(2)
  scaled = lambda state, shared: state * shared.astype(state.dtype)
  program = who.map(lambda state, constant, shared: (scaled(state, shared), state.sum()))
  call = lambda width, epoch: program(who.place(np.ones((2, width))), (), who.share(epoch))
  call(3, np.int32(0))
  traced, seconds = program.traces, program.compile_seconds
  assert traced > 0 < seconds
  for epoch in range(1, 4):
    call(3, np.int32(epoch))
  assert (program.traces, program.compile_seconds) == (traced, seconds)
  call(5, np.int32(0))
  assert program.traces == 2 * traced
  assert program.compile_seconds > seconds


def epoch_program(devices):
  """Return (program, its arguments) of one training epoch of three tiny networks."""
  problem, ft = problems.problem(3, devices=devices), get("ft")
  hp = {**ft.defaults, **problems.TABLE["ft"].small}
  fixed = members.options(ft, problem.task, [hp], None)
  built = programs.build(problem.population, problem.task, ft, fixed)
  keys = np.asarray(jax.random.key_data(member_keys(range(3))))
  rates = {name: np.full(3, hp[name], np.float32) for name in hp if name not in fixed}
  rates["num_epochs"] = np.full(3, 2, np.int32)
  index = {"retain": problem.index["retain"].astype(np.int32)}
  who = problem.population
  constant = who.place(
    programs.Member(keys, keys, index, rates, {}, {}, np.full(3, NO_LIMIT, np.int32))
  )
  shared = programs.Shared(problem.arrays, np.int32(0))
  failed = who.place(np.full(3, NEVER, np.int32))
  variables = who.place(problems.weights(range(3)))
  variables, fresh = built.start[0](variables, (constant, (), failed), shared)
  state = programs.begun(variables, failed, fresh)
  return built.epoch[0], (state, (constant, ()), shared)


def test_devices_never_talk_to_each_other():
  """A training epoch on two devices holds no collective operation."""
  program, arguments = epoch_program(devices=2)
  text = program.compile(*arguments).as_text()
  assert "num_partitions=2" in text
  assert [word for word in COLLECTIVES if word in text] == []


def test_a_collective_would_be_seen():
  """The control of the test above: a sum over devices does show in the program's text."""
  who = population(2, devices=2)
  total = jax.shard_map(lambda x: lax.psum(x, AXIS), mesh=who.mesh, in_specs=P(AXIS), out_specs=P())
  assert "all-reduce" in jax.jit(total).lower(who.place(np.ones(2))).compile().as_text()


def test_an_epoch_compiles_once_for_all_its_numbers():
  program, (state, constant, shared) = epoch_program(devices=1)
  losses, traces = [], []
  for number in range(2):
    state, metrics = program(state, constant, shared._replace(epoch=np.int32(number)))
    losses.append(np.asarray(metrics.loss))
    traces.append(program.traces)
  assert np.isfinite(losses).all()
  assert not np.array_equal(*losses)
  assert traces[0] == traces[1]


def test_refuses_what_cannot_be_a_population():
  for size, chunk in ((0, 1), (3, 0), (-1, 1)):
    with pytest.raises(
      UserError, match=f"^population needs size and chunk >= 1, got size={size}, chunk={chunk}$"
    ):
      Population(size, chunk)
  with pytest.raises(UserError, match=r"^population of 3 got a leaf of shape \(2, 5\)$"):
    population(3).place({"a": np.ones((3, 1)), "b": np.ones((2, 5))})


def test_takes_all_devices_by_default():
  assert Population(3).devices == tuple(jax.devices())


def test_refuses_generators_that_give_all_members_one_key():
  with (
    jax.default_prng_impl("rbg"),
    pytest.raises(
      RuntimeError, match="jax_default_prng_impl is 'rbg', but populations need 'three"
    ),
  ):
    population(3)


def test_member_keys_are_distinct_and_follow_the_seed_alone():
  keys = jax.random.key_data(member_keys([3, 4, 5]))
  assert len({tuple(key) for key in keys.tolist()}) == 3
  for seed, key in zip((3, 4, 5), keys):
    np.testing.assert_array_equal(key, jax.random.key_data(jax.random.key(seed)))
  folded = fold_keys(member_keys([3, 4]), 7)
  wanted = jax.random.fold_in(jax.random.key(4), 7)
  np.testing.assert_array_equal(jax.random.key_data(folded[1]), jax.random.key_data(wanted))
  draws = jax.vmap(jax.random.normal)(member_keys(range(50)))
  assert len(np.unique(draws)) == 50
