"""Members that do not fit at once give the same bits in groups, which share compiled programs."""

import jax
import numpy as np
import pytest
from support import problems

from jaxmu.engine.population import Population, member_keys
from jaxmu.execution import members, predictions, programs, runner
from jaxmu.unlearning import get

SEEDS, SHIFTS = (0, 1, 2, 3, 4), (0, 3, 5, 7, 11)
GROUPS = (slice(0, 2), slice(2, 4), slice(4, 5))  # the last one is smaller


def problem(group, room, devices):
  """Return the problem of some of the members, with places for `room`."""
  made = problems.problem(group.stop - group.start, devices=devices, shifts=SHIFTS[group])
  layout = tuple(jax.devices()[:devices])
  population = Population(group.stop - group.start, devices=layout, room=room)
  return runner.Problem(population, made.task, made.arrays, made.index)


def execute(name, group, room=0, devices=1, vary=True, **options):
  """Run a method on some members of different splits and rates; return outcome and programs."""
  method, given = get(name), problem(group, room, devices)
  row = problems.TABLE[name]
  each = [{**row.small, **(row.vary[k % 3] if vary else {})} for k in SEEDS]
  hp = [method.hyperparameters(one) for one in each][group]
  variables, keys = problems.weights(SEEDS[group]), member_keys(SEEDS[group])
  outcome = runner.run(method, given, variables, hp=hp, keys=keys, **options)
  static = members.options(method, given.task, hp, None)
  built = programs.build(given.population, given.task, method, static)
  return outcome._replace(variables=given.population.collect(outcome.variables)), built


def every(built):
  rest = (built.rewind, built.finish)
  return [built.prepare, *built.start, *built.epoch, *(program for program in rest if program)]


@pytest.mark.parametrize(
  ("name", "devices"),
  [("ft", 1), ("ft", 2), pytest.param("fcs", 2, marks=pytest.mark.slow), ("scrub", 2)],
)
def test_groups_give_the_bits_of_all_members_at_once(name, devices):
  """Different rates and epochs; fcs has two phases, scrub a teacher and a rewind."""
  vary, legs, some = name != "scrub", [], []
  whole, _ = execute(name, slice(0, 5), devices=devices, vary=vary, on_leg=legs.append)
  parts = [
    execute(name, group, 2, devices, vary, on_leg=lambda leg, g=group: some.append((g, leg)))[0]
    for group in GROUPS
  ]
  joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(p.variables for p in parts))
  assert problems.equal(whole.variables, joined)
  assert whole.failures == sum((part.failures for part in parts), ())
  assert whole.passes == sum((part.passes for part in parts), ())
  losses = {(leg.number, leg.epoch): leg.metrics.loss for leg in legs if not leg.replay}
  for group, leg in some:
    if not leg.replay:
      np.testing.assert_array_equal(leg.metrics.loss, losses[leg.number, leg.epoch][group])
  count = lambda found: sum(leg.samples for leg in found if not leg.replay)
  assert count(leg for _, leg in some) == count(legs)


def test_all_groups_legs_and_resumed_runs_share_one_compilation():
  """The first group traces each program; later ones and a resumed one do not trace again."""
  saved = []
  _, built = execute("fcs", GROUPS[0], 2)
  traced = [program.traces for program in every(built)]
  assert {len(program._compiled) for program in every(built)} == {1}
  take = lambda leg: saved.append(leg.snapshot())
  last, again = execute("fcs", GROUPS[2], 2, on_leg=take)
  resumed, _ = execute("fcs", GROUPS[2], 2, resume=saved[0])
  assert again is built
  assert [program.traces for program in every(built)] == traced
  assert last.compile_seconds == resumed.compile_seconds == 0
  assert problems.equal(last.variables, resumed.variables)


def test_predictions_of_groups_are_those_of_all():
  given, variables = problem(slice(0, 5), 0, 2), problems.weights(SEEDS)
  whole = predictions.logits(given.population, given.task, given.arrays, variables, 10)
  assert whole.shape == (5, 38, 4)
  for group in GROUPS:
    part, own = problem(group, 2, 2), problems.weights(SEEDS[group])
    found = predictions.logits(part.population, part.task, part.arrays, own, 10)
    np.testing.assert_array_equal(found, whole[group])
