"""Members whose sets differ in size: one program, exact for each, padding never read."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from support import problems
from support.problems import daily
from support.refusals import refused
from support.user_networks import Stock

from jaxmu.engine import executables
from jaxmu.errors import MethodError
from jaxmu.training import Task
from jaxmu.unlearning import ANCHORS, METHODS

EVERY = [*ANCHORS, *METHODS]
SEEDS = (3, 4, 5)
BATCH = 4  # members differ in their number of batches, the last of which is a short one for each
COUNTS = {"retain": (14, 21, 18), "forget": (5, 10, 9), "val": (6, 5, 6)}
# Methods whose result is that of a run on a member's samples up to round-off, and why.
ROUNDED = {"iu": "the sets' shares are quotients of traced counts, not constants in float64"}


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


def run(name, start, sets, seeds, k=None, draws=None, fidelity=None, **options):
  given = start if k is None else member(start, k)
  made = problems.problem(len(seeds), sets=sets, **options)
  sizes = {key: BATCH for key in problems.TABLE[name].small if key.endswith("batch_size")}
  return problems.run(name, made, given, seeds, sizes, draws=draws, fidelity=fidelity)


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
    places, own = (draws(name, sets, k, whole) for whole in (True, False))
    ragged, legs, one = run(name, start, single(sets, k), SEEDS[k : k + 1], draws=places, **given)
    plain, known, other = run(name, start, trimmed(sets, k), SEEDS[k : k + 1], draws=own, **given)
    if name in ROUNDED:
      jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), ragged, plain)
    else:
      assert problems.equal(ragged, plain), k
    assert one.passes == other.passes
    for leg, same in zip(legs, known, strict=True):
      assert problems.equal(taken(leg), taken(same))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "fidelity"), [("ff", "fixed"), ("iu", "fixed"), ("msg", "fixed"), ("salun", "reference")]
)
def test_so_it_does_where_the_other_fidelity_reads_sizes(name, fidelity, start):
  sets, given = problems.ragged(COUNTS), {"shuffle": False, "fidelity": fidelity}
  places, few = (draws(name, sets, 0, whole) for whole in (True, False))
  ragged, _, _ = run(name, start, single(sets, 0), SEEDS[:1], 0, places, **given)
  plain, _, _ = run(name, start, trimmed(sets, 0), SEEDS[:1], 0, few, **given)
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), ragged, plain)


def draws(name, sets, k, places):
  """Return what replaces draws of a set's size: the same for a member's samples as for places."""
  if name != "msg":
    return {}
  index, counts = sets
  number = min(counts["retain"][k], counts["forget"][k])
  own = np.random.default_rng(k).permutation(counts["retain"][k])[:number]
  return {"subset": np.resize(own, index["forget"].shape[1] if places else number)[None]}


def taken(leg):
  """Return what a leg tells of the steps that were taken, leaves [T]."""
  return jax.tree.map(lambda leaf: leaf[~np.isnan(leg.metrics.loss)], leg.metrics)


def test_members_take_their_own_number_of_steps_at_the_rates_of_that_number(start):
  """The rate falls per epoch, so a member with fewer steps must not count those of others."""
  sets = problems.ragged(COUNTS)
  _, legs, _ = run("cfw", start, sets, SEEDS)
  rates = np.stack([leg.metrics.learning_rate for leg in legs])
  steps = -(-np.asarray(COUNTS["retain"]) // BATCH)
  assert sorted(steps) == [4, 5, 6]
  for k, own in enumerate(steps):
    _, known, _ = run("cfw", start, trimmed(sets, k), SEEDS[k : k + 1], k)
    wanted = np.stack([leg.metrics.learning_rate[0] for leg in known])
    np.testing.assert_array_equal(rates[:, k, :own], wanted)
    assert np.isnan(rates[:, k, own:]).all() and wanted.shape[1] == own
    np.testing.assert_allclose(wanted[0], 2 * wanted[1], rtol=1e-6)


def test_padding_that_batch_statistics_would_see_is_refused(start):
  made = problems.problem(3, sets=problems.ragged(COUNTS))
  made = dataclasses.replace(made, task=Task(Stock(), problems.CLASSES))
  whole = "ft: members have sets of different sizes, whose padding BatchNorm would see; expected a "
  whole += "network whose __call__ takes mask=, or sets of one size"
  refused(lambda: problems.run("ft", made, start, SEEDS), MethodError, whole)


def test_members_of_any_size_share_programs(start):
  count = lambda: sum(map(len, executables.Executables.every))
  run("ft", start, problems.ragged(COUNTS), SEEDS)
  before = count()
  run("ft", start, problems.ragged({"retain": (9, 12, 22)}), SEEDS)
  assert count() == before
