"""Members whose sets differ in size: one program, exact for each, padding never read."""

import jax
import numpy as np
import pytest
from support import problems
from support.problems import daily

from jaxmu.engine import executables
from jaxmu.unlearning import ANCHORS, METHODS

BY_SIZE = ("ff", "iu", "msg", "bt", "srl", "salun", "scrub", "prmq", "cfw")  # not yet
EVERY = [name for name in (*ANCHORS, *METHODS) if name not in BY_SIZE]
SEEDS = (3, 4, 5)
COUNTS = {"retain": (18, 21, 19), "forget": (9, 10, 9), "val": (6, 5, 6)}


@pytest.fixture(scope="module")
def start():
  return problems.weights(SEEDS)


def member(tree, k):
  return jax.tree.map(lambda leaf: leaf[k : k + 1], tree)


def single(sets, k):
  """Return the sets of one member, padded as they were."""
  index, counts = sets
  return {n: v[k : k + 1] for n, v in index.items()}, {n: v[k : k + 1] for n, v in counts.items()}


def trimmed(sets, k):
  """Return the sets of one member without padding."""
  index, counts = sets
  return ({name: v[k : k + 1, : counts[name][k]] for name, v in index.items()},)


def run(name, start, sets, seeds, k=None, **options):
  given = start if k is None else member(start, k)
  made = problems.problem(len(seeds), sets=sets, **options)
  return problems.run(name, made, given, seeds)


@pytest.mark.parametrize("name", EVERY)
def test_a_ragged_population_equals_ragged_single_runs_bit_for_bit(name, start):
  sets = problems.ragged(COUNTS)
  together, _, outcome = run(name, start, sets, SEEDS, devices=2)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(together))
  assert outcome.failures == ("", "", "")
  for k in range(3):
    alone, _, own = run(name, start, single(sets, k), SEEDS[k : k + 1], k)
    assert problems.equal(member(together, k), alone), k
    assert own.passes == outcome.passes[k : k + 1]


@pytest.mark.parametrize("name", daily(EVERY))
def test_what_padding_holds_changes_nothing(name, start):
  """A sample that is not a number, with a label of its own, stands in all padded places."""
  x, y = problems.samples()
  x, y = np.concatenate([x, np.full_like(x[:1], np.nan)]), np.append(y, y[:1])
  given = {"devices": 2, "x": x, "y": y}
  usual, _, _ = run(name, start, problems.ragged(COUNTS), SEEDS, **given)
  strange, _, _ = run(name, start, problems.ragged(COUNTS, pad=len(x) - 1), SEEDS, **given)
  assert problems.equal(usual, strange)


@pytest.mark.parametrize("name", daily(EVERY))
def test_without_shuffling_it_equals_the_run_on_that_many_samples(name, start):
  sets = problems.ragged(COUNTS)
  for k in range(3):
    given = {"k": k, "shuffle": False}
    ragged, legs, one = run(name, start, single(sets, k), SEEDS[k : k + 1], **given)
    plain, known, other = run(name, start, trimmed(sets, k), SEEDS[k : k + 1], **given)
    assert problems.equal(ragged, plain), k
    assert one.passes == other.passes
    for leg, same in zip(legs, known, strict=True):
      taken = leg.metrics.loss[~np.isnan(leg.metrics.loss)]
      assert np.array_equal(taken, same.metrics.loss[~np.isnan(same.metrics.loss)])


def test_members_of_any_size_share_programs(start):
  count = lambda: sum(map(len, executables.Executables.every))
  run("ft", start, problems.ragged(COUNTS), SEEDS)
  before = count()
  run("ft", start, problems.ragged({"retain": (9, 12, 22)}), SEEDS)
  assert count() == before
