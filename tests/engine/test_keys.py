"""The tree of keys: what is folded in, that no two keys of it are alike, and who uses it."""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.data import splits, transforms
from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.engine.population import fold_keys, member_keys
from jaxmu.unlearning import ANCHORS, METHODS

STAGES = (*ANCHORS, *METHODS)
FEW = 2  # phases, passes, epochs, steps


def data(key):
  return np.asarray(jax.random.key_data(key)).tolist()


def test_numbers_that_decide_results_stay_what_they_are():
  assert {purpose.name: purpose.number for purpose in Purpose} == {
    "INITIAL_WEIGHTS": 7,
    "PREPARE": 0,
    "ORDER": 1,
    "STEP": 2,
    "REWIND": 3,
    "HOOKS": 1000,
    "SAMPLES": 0,
    "LOSS": 1,
    "DROPOUT": 2,
    "CROP_OFFSETS": 0,
    "FLIPS": 1,
    "RETAIN_ORDER": 0,
    "FORGET_ORDER": 1,
  }
  assert (keys.stage_number("original"), keys.stage_number("msg")) == (109233650, 3832230401)


def test_no_two_purposes_of_a_level_share_a_number():
  places = [(purpose.level, purpose.number) for purpose in Purpose.__members__.values()]
  assert len(set(places)) == len(places)


def test_stages_have_numbers_of_their_own_beside_the_initial_weights():
  numbers = [Purpose.INITIAL_WEIGHTS.number, *map(keys.stage_number, STAGES)]
  assert len(set(numbers)) == 1 + len(STAGES) > 20
  assert all(0 <= number < 2**32 for number in numbers)


def test_purposes_and_numbers_are_folded_in():
  key = jax.random.key(5)
  fold = jax.random.fold_in
  assert data(keys.of(key, Purpose.REWIND)) == data(fold(key, 3))
  assert data(keys.at(key, 4, 0, 9)) == data(fold(fold(fold(key, 4), 0), 9))
  assert data(keys.of_pass(key, 2, 6)) == data(fold(fold(key, 2), 6))
  pair = jax.random.split(fold(fold(key, 1000), 6))
  assert [data(each) for each in keys.of_hooks(key, 6)] == [data(pair[0]), data(pair[1])]


@pytest.mark.parametrize("number", [-1, 1000])
def test_a_pass_with_the_number_of_hooks_is_refused(number):
  with pytest.raises(ValueError, match=f"a pass has a number below 1000, got {number}"):
    keys.of_pass(jax.random.key(0), number, 0)


def test_streams_of_the_data_differ():
  streams = [transforms.LABEL_STREAM, splits.REDRAW_STREAM]
  assert len({0, *streams}) == 3  # NumPy takes (seed, 0) for seed alone


class Weights(nn.Module):
  """Two parameters that hold the keys from which flax lets them be drawn."""

  @nn.compact
  def __call__(self, x):
    for name in "ab":
      self.param(name, jax.random.key_data)


def spread(parents, *functions):
  """Apply functions of one key to all keys [n], and join the results."""
  return jnp.concatenate([jax.vmap(function)(parents) for function in functions])


def purposes(parents, *wanted):
  return spread(parents, *(partial(keys.of, purpose=each) for each in wanted))


def counted(parents):
  return spread(parents, *(lambda key, n=n: keys.at(key, n) for n in range(FEW)))


def passes(phases):
  every = itertools.product(range(FEW), range(FEW))
  return spread(phases, *(partial(keys.of_pass, number=i, epoch=e) for i, e in every))


def drawn_for_orders(owners):
  each = passes(counted(purposes(owners, Purpose.ORDER)))
  return each, purposes(each, Purpose.RETAIN_ORDER, Purpose.FORGET_ORDER)


def drawn_in_phases(stages):
  phases = counted(purposes(stages, Purpose.STEP))
  ends = itertools.product(range(FEW), (0, 1))
  yield spread(phases, *(lambda key, e=e, end=end: keys.of_hooks(key, e)[end] for e, end in ends))
  steps = counted(passes(phases))
  yield purposes(steps, Purpose.LOSS, Purpose.DROPOUT)
  yield purposes(purposes(steps, Purpose.SAMPLES), Purpose.CROP_OFFSETS, Purpose.FLIPS)


def test_no_two_draws_of_a_benchmark_and_a_shadow_study_have_one_key():
  """Even where both, and the batch orders that anchors share, have the same seed."""
  seeds = member_keys([0, 1])
  models = itertools.product((0, 1, 2, 7), (0, 1))  # INITIAL_WEIGHTS has 7, too
  shadows = spread(seeds[:1], *(lambda key, m=m: keys.at(key, *m) for m in models))
  members = jnp.concatenate([seeds, shadows])
  initial = purposes(seeds, Purpose.INITIAL_WEIGHTS)
  weights = jax.tree.leaves(jax.vmap(lambda key: Weights().init(key, 0))(initial))
  stages = jnp.concatenate([fold_keys(members, keys.stage_number(name)) for name in STAGES])
  drawn = [
    purposes(stages, Purpose.PREPARE, Purpose.REWIND),
    *drawn_for_orders(jnp.concatenate([stages, seeds])),
    *drawn_in_phases(stages),
  ]
  found = np.concatenate([*map(jax.random.key_data, drawn), *weights])
  assert len(found) > 15_000
  assert len(np.unique(found, axis=0)) == len(found)
