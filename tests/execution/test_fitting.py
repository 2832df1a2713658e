"""Groups of members: who runs with whom changes no bit, and what does not fit is divided."""

import jax
import numpy as np
import pytest
from support import problems

from jaxmu.engine.population import member_keys
from jaxmu.execution import fitting, runner
from jaxmu.unlearning import get

FT = get("ft")
SEEDS = (0, 1, 2, 3)
VARIABLES = problems.weights(SEEDS)


def hp(**given):
  return FT.hyperparameters({"batch_size": 8, "num_epochs": 1, "learning_rate": 0.01, **given})


def some(members):
  return jax.tree.map(lambda leaf: leaf[list(members)], VARIABLES)


def run(each, **options):
  """Return groups and, by member, variables."""
  keys = member_keys(SEEDS[: len(each)])
  groups = list(fitting.run(FT, problems.problem(), some, hp=each, keys=keys, **options))
  found = {}
  for group in groups:
    collected = group.problem.population.collect(group.outcome.variables)
    for place, k in enumerate(group.members):
      found[k] = jax.tree.map(lambda leaf, place=place: leaf[place], collected)
  return groups, [found[k] for k in range(len(each))]


@pytest.fixture(scope="module")
def alone():
  """Each member in a population of its own."""
  found = []
  for k in SEEDS:
    outcome = runner.run(*(FT, problems.problem(), some([k])), hp=[hp()], keys=member_keys([k]))
    found.append(jax.tree.map(lambda leaf: np.asarray(leaf)[0], outcome.variables))
  return found


def test_members_of_other_static_values_have_groups_of_their_own(alone):
  groups, found = run([hp(), hp(batch_size=11), hp(), hp(batch_size=11)])
  assert [group.members for group in groups] == [(0, 2), (1, 3)]
  assert problems.equal(found[0], alone[0]) and problems.equal(found[2], alone[2])
  assert not problems.equal(found[1], alone[1])


def test_what_runs_out_of_memory_is_tried_again_in_halves(monkeypatch, alone):
  real, tried = runner.run, []

  def scarce(method, problem, *args, **options):
    tried.append(problem.population.size)
    if tried[-1] > 2:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
    return real(method, problem, *args, **options)

  monkeypatch.setattr(runner, "run", scarce)
  groups, found = run([hp()] * 4)
  assert tried == [4, 2, 2] and [group.members for group in groups] == [(0, 1), (2, 3)]
  assert all(map(problems.equal, found, alone))
  monkeypatch.setattr(runner, "run", lambda *args, **options: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    run([hp()])


def test_calls_of_one_room_share_programs(alone):
  (first,), _ = run([hp()] * 3, room=4)
  (second,), found = run([hp()] * 2, room=4)
  assert first.problem.population.padded == second.problem.population.padded == 4
  assert second.compile_seconds < 0.1 and problems.equal(found[1], alone[1])


def test_blocks_are_even():
  assert [fitting.even(10, most) for most in (64, 10, 9, 4, 1)] == [10, 10, 5, 4, 1]
