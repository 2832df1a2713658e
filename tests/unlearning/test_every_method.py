"""One battery over the whole table: what any method must satisfy, anchors included."""

import chex
import jax
import numpy as np
import pytest
from support import problems
from support.problems import daily

from jaxmu import models
from jaxmu.errors import MethodError
from jaxmu.execution.accounting import Span
from jaxmu.unlearning import ANCHORS, METHODS, get

EVERY = [*ANCHORS, *METHODS]
SEEDS = (3, 4, 5)
CHUNKED = ("ft", "rni")
EPOCHS = [name for name in EVERY if problems.TABLE[name].legs]  # the others edit once
FROZEN_NORM = [name for name in EVERY if problems.TABLE[name].frozen_norm]  # methods.md 9.4
RANDOM = [name for name in EVERY if problems.TABLE[name].random]


@pytest.fixture(scope="module")
def start():
  return problems.weights(SEEDS)


def member(tree, k):
  return jax.tree.map(lambda leaf: leaf[k : k + 1], tree)


@pytest.mark.parametrize("name", EVERY)
def test_keeps_shapes_and_dtypes_and_changes_weights(name, start):
  result, legs, outcome = problems.run(name, problems.problem(3, devices=2), start, SEEDS)
  chex.assert_trees_all_equal_shapes_and_dtypes(result, start)
  assert not problems.equal(result["params"], start["params"])
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
  assert outcome.failures == ("", "", "")
  assert outcome.passes[0] > 0
  assert len(legs) == problems.TABLE[name].legs
  assert all(np.isfinite(leg.metrics.loss).all() for leg in legs)


@pytest.mark.parametrize("name", EVERY)
def test_population_equals_single_runs_bit_for_bit(name, start):
  """K members on two devices at chunk 1 are K single runs on one device."""
  alone = [
    problems.run(name, problems.problem(1), member(start, k), SEEDS[k : k + 1])[0] for k in range(3)
  ]
  together, _, _ = problems.run(name, problems.problem(3, devices=2), start, SEEDS)
  for k in range(3):
    assert problems.equal(member(together, k), alone[k]), k


@pytest.mark.parametrize("name", daily(EVERY))
def test_members_may_differ_in_hyper_parameters_and_splits(name, start):
  """One population of different hyper-parameters and splits equals separate runs."""
  given, shifts = problems.TABLE[name].vary, (0, 5, 9)
  together, legs, _ = problems.run(
    name, problems.problem(3, devices=2, shifts=shifts), start, SEEDS, list(given)
  )
  if legs:
    rates = legs[-1].metrics.learning_rate
    assert np.isnan(rates[0]).all()  # one epoch less: at rest in the last
    assert not np.isnan(rates[1]).all()
  for k, shift in enumerate(shifts):
    alone, _, _ = problems.run(
      name, problems.problem(1, shifts=(shift,)), member(start, k), SEEDS[k : k + 1], given[k]
    )
    assert problems.equal(member(together, k), alone)


@pytest.mark.parametrize("name", daily(EVERY, CHUNKED))
def test_chunks_agree_with_single_members(name, start):
  """vmap reassociates sums; equal up to round-off after two epochs."""
  gentle = problems.TABLE[name].gentle
  one, _, _ = problems.run(name, problems.problem(3, devices=2), start, SEEDS, gentle)
  two, _, _ = problems.run(name, problems.problem(3, chunk=2), start, SEEDS, gentle)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)):
    np.testing.assert_allclose(a, b, atol=2e-3)


@pytest.mark.parametrize("name", daily(EVERY))
def test_sees_only_the_sets_it_needs(name, start):
  """Images outside the declared sets are NaN: any use of them would poison the weights."""
  x, _ = problems.samples()
  hidden = [n for n in problems.SIZES if n not in get(name).needs]
  for other in hidden:
    x[problems.index()[other][0]] = np.nan
  result, _, outcome = problems.run(name, problems.problem(1, x=x), member(start, 0), SEEDS[:1])
  assert outcome.failures == ("",)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


@pytest.mark.parametrize("name", daily(EVERY))
def test_reads_every_set_it_declares(name, start):
  """The counterpart: NaN in a declared set must show, or the declaration is too wide."""
  for needed in get(name).needs:
    x, _ = problems.samples()
    x[problems.index()[needed][0]] = np.nan
    result, _, outcome = problems.run(name, problems.problem(3, devices=2, x=x), start, SEEDS)
    spoiled = not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    assert spoiled or any(outcome.failures) or choice_changed(name, result, start), needed


def choice_changed(name, result, start):
  """MSG reads the forget set for its mask only, SCRUB validation to choose a member's epoch."""
  clean, _, _ = problems.run(name, problems.problem(3, devices=2), start, SEEDS)
  return not problems.equal(clean["params"], result["params"])


@pytest.mark.parametrize("name", daily(EPOCHS))
def test_resumes_bit_for_bit_from_any_epoch(name, start):
  row, method, snapshots = problems.TABLE[name], get(name), []
  options = {
    "hp": [method.hyperparameters({**row.small, **row.longer})] * 3,
    "keys": problems.member_keys(SEEDS),
  }
  keep = lambda leg: snapshots.append(leg.snapshot())

  def run(**more):
    problem = problems.problem(3, devices=2)
    outcome = problems.runner.run(method, problem, start, **options, **more)
    return problem.population.collect(outcome.variables)

  whole = run(on_leg=keep)
  assert len(snapshots) >= 3
  for snapshot in snapshots[:-1]:
    assert problems.equal(run(resume=snapshot), whole), (snapshot.phase, snapshot.epoch)


@pytest.mark.parametrize("name", daily(EPOCHS))
def test_stops_midway_and_goes_on_alone_as_it_would_have_been(name, start):
  row, method = problems.TABLE[name], get(name)
  hp = [method.hyperparameters({**row.small, **row.longer})] * 3
  several = problems.problem(3, devices=2)

  def run(problem, own, seeds, **more):
    known = {"hp": hp[: len(seeds)], "keys": problems.member_keys(seeds)}
    outcome = problems.runner.run(method, problem, own, **known, **more)
    return problem.population.collect(outcome.variables), outcome

  legs = []
  whole, complete = run(several, start, SEEDS, on_leg=legs.append)
  if {leg.number for leg in legs if not leg.replay} != {0}:
    with pytest.raises(MethodError, match="phases and cannot stop midway"):
      run(several, start, SEEDS, span=Span(0, 1))
    return
  _, first = run(several, start, SEEDS, span=Span(0, 1))
  state = first.state._replace(**member(first.state.arrays(), 2), failures=("",))
  rest, last = run(problems.problem(1), member(start, 2), SEEDS[2:], span=Span(1), resume=state)
  assert problems.equal(rest, member(whole, 2))
  assert min(first.left) > 0 and last.left == (0,) and last.state is None
  assert first.passes[2] + last.passes[0] == complete.passes[2]


@pytest.mark.parametrize("name", daily(EVERY))
def test_a_non_finite_member_leaves_the_others_alone(name, start):
  healthy, _, _ = problems.run(name, problems.problem(3, devices=2), start, SEEDS)
  result, _, outcome = run_with_a_sick_member(name, start)
  assert problems.equal(member(result, 0), member(healthy, 0))
  assert problems.equal(member(result, 2), member(healthy, 2))
  assert outcome.failures[0] == outcome.failures[2] == ""
  assert not all(np.isfinite(leaf[1]).all() for leaf in jax.tree.leaves(result))


@pytest.mark.parametrize("name", daily(EPOCHS))
def test_a_non_finite_member_is_frozen(name, start):
  _, legs, outcome = run_with_a_sick_member(name, start)
  steps = legs[0].steps
  assert outcome.failures[1].endswith(f"epoch 1 (steps 0-{steps - 1})")
  assert np.isnan(legs[-1].metrics.learning_rate[1]).all()  # frozen: no step was taken


def run_with_a_sick_member(name, start):
  sick = jax.tree.map(np.copy, start)
  sick["params"]["norm"]["scale"][1] = np.nan  # no method resets it
  return problems.run(name, problems.problem(3, devices=2), sick, SEEDS)


@pytest.mark.parametrize("name", daily(RANDOM))
def test_randomness_follows_the_key_alone(name, start):
  twice = [problems.run(name, problems.problem(1), member(start, 0), (8,))[0] for _ in range(2)]
  other, _, _ = problems.run(name, problems.problem(1), member(start, 0), (9,))
  assert problems.equal(*twice)
  assert not problems.equal(twice[0], other)


@pytest.mark.parametrize("name", FROZEN_NORM)
def test_frozen_batch_norm_keeps_its_statistics_bit_for_bit(name, start):
  result, _, _ = problems.run(name, problems.problem(3, devices=2), start, SEEDS)
  assert problems.equal(result["batch_stats"], start["batch_stats"])


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(FROZEN_NORM)))
def test_train_mode_batch_norm_moves_its_statistics(name, start):
  result, _, _ = problems.run(name, problems.problem(3, devices=2), start, SEEDS)
  moved = jax.tree.map(
    lambda a, b: not np.array_equal(a, b), result["batch_stats"], start["batch_stats"]
  )
  assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("name", EVERY)
def test_rejects_what_it_does_not_know(name):
  method = get(name)
  real = next(n for n, v in method.defaults.items() if isinstance(v, float))
  batch_size = next(n for n in method.defaults if n.endswith("batch_size"))
  with pytest.raises(MethodError, match=f"{name} has no hyper-parameter '{real[:-1]}'; did you"):
    method.hyperparameters({real[:-1]: 0.1})
  with pytest.raises(MethodError, match=f"{real} must be a number"):
    method.hyperparameters({real: "fast"})
  with pytest.raises(
    MethodError, match=f"{batch_size} must be a whole number at least 1 and at most 10000000, got 0"
  ):
    method.hyperparameters({batch_size: 0})
  with pytest.raises(MethodError, match=f"{batch_size} must be a whole number"):
    method.hyperparameters({batch_size: 2.5})


@pytest.mark.parametrize("name", EVERY)
def test_the_table_is_complete(name):
  method = get(name)
  assert method.name == name
  assert method.needs <= {"retain", "forget", "val"}
  assert all((method.label, method.title, method.summary, method.paper))
  assert method.fidelity in method.fidelities
  for hyper in method.hyper.values():
    assert hyper.dead == (hyper.default is None)
    assert hyper.search or not hyper.amended
    assert hyper.static or not hyper.choices


@pytest.mark.parametrize("name", EVERY)
def test_defaults_keep_the_bounds_that_a_search_keeps(name):
  defaults = get(name).defaults
  for key, hyper in get(name).live.items():
    for distribution in (hyper.search, hyper.amended):
      if distribution and distribution.at_most:
        assert defaults[key] <= defaults[distribution.at_most], key


@pytest.mark.parametrize("name", EVERY)
def test_defaults_lie_in_the_ranges_that_we_recommend_in_place_of_the_references(name):
  for key, hyper in get(name).live.items():
    if hyper.amended and hyper.amended.high is not None:
      assert hyper.amended.low <= hyper.default <= hyper.amended.high, key


LACKING = {  # in a network without convolutions and named blocks
  "ct": "convolution wider than a pixel to transpose, and only fine-tunes",
  "msg": "convolution to re-initialise, and only fine-tunes",
  "cfw": "convolution that its noise is for, and only fine-tunes",
  "cfk": "blocks (modules stage1, stage2, ...), and trains the head alone",
  "euk": "blocks (modules stage1, stage2, ...), and trains the head alone",
}


@pytest.mark.parametrize("name", EVERY)
def test_a_network_that_lacks_what_a_method_acts_on_is_told(name):
  method, whole = get(name), problems.weights([0])["params"]
  one = jax.tree.map(lambda leaf: leaf[0], whole)
  static = {key: method.defaults[key] for key in method.static}
  lacking = lambda params, module=None: method.inert(module, params, static)
  assert lacking(one, problems.TinyNet()) == ""
  assert lacking({"head": one["head"]}, problems.TinyNet()) == LACKING.get(name, "")


def test_what_is_there_may_still_be_of_no_use():
  """Kernels of one pixel are their own transposes; a stem that is no layer receives no noise."""
  dot = {"stem": {"kernel": np.zeros((1, 1, 3, 4))}}
  assert get("ct").inert(None, dot, {}) == LACKING["ct"]
  vit = models.make("tinyvit", 4)
  assert get("cfw").inert(vit, dot, {"scope": "stem"}) == LACKING["cfw"]
  assert get("cfw").inert(vit, dot, {"scope": "all_convs"}) == ""


def test_no_two_methods_are_shown_under_one_name():
  labels = [get(name).label for name in EVERY]
  assert len(set(labels)) == len(labels)


def test_unknown_names_are_answered_with_the_closest():
  with pytest.raises(MethodError, match="unknown method 'mgs'; did you mean 'msg'"):
    get("mgs")
