"""Going back to an earlier epoch: SCRUB's choice, the engine's exact replay (methods.md 9.6)."""

import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems

from jaxmu.engine.population import member_keys
from jaxmu.execution import predictions, runner
from jaxmu.unlearning import scrub

SEEDS = (3, 4, 5)
HP = {
  **scrub.METHOD.defaults,
  "retain_batch_size": 8,
  "forget_batch_size": 8,
  "sgda_num_epochs": 4,
  "sgda_learning_rate": 0.05,
  "msteps": 2,
  "lr_decay_rate": 0.5,
}
FREE = -1


def obey(variables, step):
  """Go back to the epoch that a further traced number names; FREE leaves the choice to SCRUB."""
  target = step.hp["target"]
  return jnp.where(target == FREE, scrub.rewind(variables, step), target)


TOLD = dataclasses.replace(scrub.METHOD, name="told", rewind=obey)


@pytest.fixture(scope="module")
def start():
  return problems.weights(SEEDS)


def execute(method, problem, start, hp, seeds=SEEDS, **options):
  """Run; returns NumPy variables [K, ...], the legs and their snapshots."""
  legs, snapshots = [], []

  def keep(leg):
    legs.append(leg)
    snapshots.append(leg.snapshot())

  outcome = runner.run(
    method, problem, start, hp=hp, keys=member_keys(seeds), on_leg=keep, **options
  )
  return problem.population.collect(outcome.variables), legs, snapshots


def member(tree, k):
  return jax.tree.map(lambda leaf: leaf[k], tree)


# The choice


class Told:
  """A view whose model gets as many samples of each set wrong as it is told."""

  ragged = False

  def __init__(self, forget, val, wrong, wrong_val):
    self.task = SimpleNamespace(num_classes=4)
    self.sets = {"forget": np.asarray(forget), "val": np.asarray(val)}
    self.wrong = {"forget": np.arange(len(forget)) < wrong, "val": np.asarray(wrong_val)}

  def size(self, name):
    return len(self.sets[name])

  count = size

  def labels(self, name):
    return jnp.asarray(self.sets[name])

  def logits(self, variables, name, batch_size):
    predicted = np.where(self.wrong[name], (self.sets[name] + 1) % 4, self.sets[name])
    return jax.nn.one_hot(jnp.asarray(predicted), 4)


def choose(errors, wrong_val, *, forget, val):
  """Rewind after len(errors) - 1 epochs; errors[i] forget samples wrong after i epochs."""
  epochs = len(errors) - 1
  memory = jnp.zeros(scrub.LONGEST + 1, jnp.int32).at[:epochs].set(jnp.asarray(errors[:-1]))
  view = Told(forget, val, errors[-1], wrong_val)
  known = contract.step({**HP, "sgda_num_epochs": epochs}, view, memory=memory)
  return int(scrub.rewind(None, known))


TEN = [0] * 5 + [1] * 5  # forget labels: classes 2 and 3 do not occur
HALF = [True, False] * 4  # err_v* = 50 %, of eight validation samples of class 0


@pytest.mark.parametrize(
  ("errors", "wanted"),
  [
    ([0, 2, 5, 1, 9], 2),  # the only match
    ([0, 5, 2, 5, 5], 1),  # ties: the smallest index, not the last
    ([0, 4, 6, 4, 9], 1),  # a tie from both sides
    ([0, 6, 4, 4, 9], 1),
    ([5, 5, 2, 0, 0], 0),  # the original matches: keep the final model
    ([0, 1, 2, 3, 4], 0),  # the last epoch is the final model
    ([9, 10], 0),
    ([0] * 60, 0),  # places of the memory beyond E hold 0 as well
    ([9, 8, 9], 1),
  ],
)
def test_takes_the_first_epoch_whose_forget_error_is_closest(errors, wanted):
  assert choose(errors, HALF, forget=TEN, val=[0] * 8) == wanted


def test_unused_places_of_the_memory_are_no_candidates():
  """They hold 0, which would match an error of 0 exactly."""
  assert choose([9, 3, 4], [False] * 8, forget=TEN, val=[0] * 8) == 1


def test_only_validation_samples_of_classes_in_the_forget_set_count():
  """All of classes 2 and 3 are wrong, half of 0 and 1: err_v* is 50 %, not 75 %."""
  val, wrong = [0, 1, 0, 1, 2, 2, 3, 3], [True, True, False, False, True, True, True, True]
  assert choose([10, 8, 5, 7, 9], wrong, forget=TEN, val=val) == 2


def test_without_a_validation_sample_of_these_classes_the_final_model_stays():
  assert choose([10, 8, 5, 7, 9], [True] * 3, forget=TEN, val=[2, 3, 3]) == 0


def test_agrees_with_exact_fractions():
  """Ties between errors of different denominators, which rounding would break either way."""
  rng = np.random.default_rng(0)
  n_ties = 0
  for _ in range(40):
    n_forget, n_val = ((24, 16), (30, 20))[rng.integers(2)]
    errors, wrong = rng.integers(0, n_forget + 1, 8), rng.integers(0, n_val + 1)
    gaps = [abs(Fraction(int(e), n_forget) - Fraction(int(wrong), n_val)) for e in errors]
    first = gaps.index(min(gaps))
    n_ties += any(gap == min(gaps) and e != errors[first] for gap, e in zip(gaps, errors))
    found = choose(errors, np.arange(n_val) < wrong, forget=[0] * n_forget, val=[0] * n_val)
    assert found == (first if first < 7 else 0)
  assert n_ties > 0


# The replay


def test_members_go_back_to_epochs_of_their_own_bit_for_bit(start):
  """To the state after that epoch of the same schedule; 0 keeps the final model."""
  targets, epochs = (1, 0, 3), (4, 3, 4)
  hp = [{**HP, "target": t, "sgda_num_epochs": e} for t, e in zip(targets, epochs)]
  found, legs, snapshots = execute(TOLD, problems.problem(3, devices=2), start, hp)
  assert [leg.replay for leg in legs] == [False] * 4 + [True] * 3
  for k, (target, last) in enumerate(zip(targets, epochs)):
    wanted = snapshots[(target or last) - 1].variables
    assert problems.equal(member(found, k), member(wanted, k)), k
  kept = execute(TOLD, problems.problem(3, devices=2), start, [{**h, "target": 0} for h in hp])
  assert not any(leg.replay for leg in kept[1])
  assert not problems.equal(member(found, 0), member(kept[0], 0))
  assert not problems.equal(member(found, 2), member(kept[0], 2))


def test_resumes_in_the_middle_of_a_replay(start):
  hp = [{**HP, "target": target} for target in (1, 0, 3)]
  problem = problems.problem(3, devices=2)
  whole, legs, snapshots = execute(TOLD, problem, start, hp)
  assert len(legs) == 4 + 3
  for left, snapshot in zip(range(6, -1, -1), snapshots):
    found, again, _ = execute(TOLD, problem, start, hp, resume=snapshot)
    assert problems.equal(found, whole)
    assert len(again) == left
  # What counts after a replay has begun is the choice that was made then.
  other = [{**HP, "target": 2}] * 3
  found, _, _ = execute(TOLD, problem, start, other, resume=snapshots[4])
  assert problems.equal(found, whole)


def test_a_member_that_failed_is_not_replayed(start):
  sick = jax.tree.map(np.copy, start)
  sick["params"]["norm"]["scale"][1] = np.nan
  hp = [{**HP, "target": target} for target in (1, 2, 3)]
  problem = problems.problem(3, devices=2)
  healthy, _, _ = execute(TOLD, problem, start, hp)
  found, legs, snapshots = execute(TOLD, problem, sick, hp)
  assert snapshots[-1].targets == (1, 0, 3)
  assert snapshots[-1].failures[1] == "leave and come back: epoch 1 (steps 0-4)"
  for k in (0, 2):
    assert problems.equal(member(found, k), member(healthy, k))
  assert np.isnan(legs[-1].metrics.learning_rate[1]).all()


def test_a_replay_costs_no_run_time_and_reports_what_it_read(start):
  hp = [{**HP, "target": target} for target in (1, 0, 3)]
  seconds = []
  problem = problems.problem(3, devices=2)
  execute(TOLD, problem, start, hp)
  runner.run(
    TOLD,
    problem,
    start,
    hp=hp,
    keys=member_keys(SEEDS),
    on_leg=lambda leg: seconds.append((leg.snapshot().seconds, leg.samples)),
  )
  assert len({spent for spent, _ in seconds[3:]}) == 1  # stands still from the last epoch on
  # Two epochs of 10 + 22 samples, then of 22; the replay is of 2, 1 and 1 members.
  assert [samples for _, samples in seconds] == [96, 96, 66, 66, 64, 32, 22]


def test_the_forget_set_is_visited_in_stored_order_and_retain_is_shuffled(start):
  """Equal models under three keys: the first pass over forget is the same, that over retain not."""
  same = jax.tree.map(lambda leaf: leaf[[0, 0, 0]], start)
  problem = problems.problem(3, devices=2)
  _, legs, _ = execute(TOLD, problem, same, [{**HP, "target": 0}] * 3)
  loss = legs[0].metrics.loss
  for k in (1, 2):
    np.testing.assert_array_equal(loss[k, :2], loss[0, :2])
    assert not np.isclose(loss[k, 2:], loss[0, 2:]).any()


# Both together


def test_scrub_returns_the_model_whose_forget_error_is_closest_to_unseen_data(start):
  """Recompute every error from the models of all epochs, and the choice from these."""
  problem = problems.problem(3, devices=2)
  found, legs, snapshots = execute(TOLD, problem, start, [{**HP, "target": FREE}] * 3)
  trained = [s for s, leg in zip(snapshots, legs) if not leg.replay]
  _, y = problems.samples()
  index = {name: places[0] for name, places in problems.index().items()}
  unseen = index["val"][np.isin(y[index["val"]], y[index["forget"]])]
  models = [start, *(snapshot.variables for snapshot in trained)]
  logits = [predictions.logits(problem.population, problem.task, problem.arrays, m) for m in models]
  wrong = np.stack([each.argmax(-1) != y for each in logits])  # [E + 1, K, N]
  error = lambda w: Fraction(int(w.sum()), len(w))
  choices = []
  for k in range(3):
    target = error(wrong[-1, k, unseen])
    gaps = [abs(error(wrong[i, k, index["forget"]]) - target) for i in range(5)]
    choices.append(gaps.index(min(gaps)))
    wanted = trained[(choices[k] or 4) - 1].variables
    assert problems.equal(member(found, k), member(wanted, k)), k
    remembered = trained[-1].optimizers[str(len(trained[-1].optimizers) - 1)]
    np.testing.assert_array_equal(remembered[k, :4], wrong[:4, k][:, index["forget"]].sum(1))
  assert set(choices) & {1, 2, 3}, choices  # one at least goes back
