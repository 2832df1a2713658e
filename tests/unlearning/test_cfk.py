"""CF-k: the last k blocks and the head alone move, as in a loop by hand (methods.md 3, 3.1)."""

import flax
import jax
import numpy as np
import pytest
from support import contract
from support.layerwise import (
  HP,
  Blocks,
  close,
  in_last_blocks,
  member,
  naive,
  reported,
  run,
  weights,
)
from support.problems import equal

from jaxmu.errors import MethodError
from jaxmu.unlearning import get
from jaxmu.unlearning.parts.last_blocks import anchored, last_blocks

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

MEMBERS = (  # one population: k and everything else is traced
  {**HP, "num_blocks": 1},
  {**HP, "num_blocks": 2, "sgda_weight_decay": 2.0, "sgda_decay_rate": 0.0},
  {**HP, "num_blocks": 9, "sgda_weight_decay": 2.0, "sgda_decay_rate": 0.0},
  {**HP, "num_blocks": 2, "sgda_weight_decay": 1000.0, "learning_rate": 1e-5},
)


@pytest.fixture(scope="module")
def start():
  with jax.enable_x64(True):
    return weights()


@pytest.fixture(scope="module")
def found(start):
  return run("cfk", start, *MEMBERS)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_equals_the_loop(found, start, k):
  """Weights, losses (cross-entropy plus anchor term) and rates; the last batch is a short one."""
  variables, legs = found
  params, _, losses, rates = naive(start, MEMBERS[k], module=Blocks(), train=False)
  close(member(variables["params"], k), params)
  close(reported(legs, k), (losses, rates))
  assert losses[-1] < losses[0]


def test_rates_drop_after_the_milestones(start):
  """Milestones 5, 8 and 9 of ten epochs count once e is larger (methods.md 0.5)."""
  _, legs = run("cfk", start, {**HP, "num_epochs": 10}, *[{**HP, "num_epochs": 1}] * 3)
  _, rates = reported(legs)
  wanted = np.repeat([0, 0, 0, 0, 0, 0, 1, 1, 1, 2], 3)
  np.testing.assert_allclose(rates, 0.05 * 0.5**wanted)


def test_only_the_last_blocks_and_the_head_move(found, start):
  """All else is bit-identical: other blocks and norms, attention biases, statistics."""
  variables, _ = found
  flat = flax.traverse_util.flatten_dict
  for k, hp in enumerate(MEMBERS):
    before = flat(member(start["params"], 0))
    after = flat(member(variables["params"], k))
    for path, inside in in_last_blocks(start, hp["num_blocks"]).items():
      moves = inside and path[-1] != "attention_biases"
      assert np.array_equal(after[path], before[path]) != moves, (hp["num_blocks"], path)
    assert equal(member(variables["batch_stats"], k), member(start["batch_stats"], 0))


def test_more_blocks_than_there_are_select_all(found):
  variables, _ = found
  assert equal(member(variables, 1), member(variables, 2))
  assert not equal(member(variables, 0), member(variables, 1))


def test_a_strong_anchor_and_a_small_rate_keep_the_weights_near(found, start):
  variables, _ = found
  distance = lambda k: max(
    np.abs(a[k] - b[0]).max()
    for a, b in zip(jax.tree.leaves(variables["params"]), jax.tree.leaves(start["params"]))
  )
  assert 0 < distance(3) < 1e-4 < 1e-2 < distance(1)


def test_train_mode_moves_all_statistics_and_trains_attention_biases(start):
  hp = {**HP, "num_blocks": 1, "bn_mode": "train"}
  variables, legs = run("cfk", start, hp)
  params, stats, losses, rates = naive(start, hp, module=Blocks(), train=True, frozen=())
  close(member(variables["params"], 0), params)
  close(member(variables["batch_stats"], 0), stats)
  close(reported(legs), (losses, rates))
  moved = jax.tree.map(
    lambda a, b: not np.array_equal(a, b), variables["batch_stats"], start["batch_stats"]
  )
  assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("fidelity", ["reference", "fixed"])
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_attention_biases_rest_in_the_references_eval_mode_alone(start, fidelity, bn_mode):
  known = contract.step({"num_blocks": 1, "fidelity": fidelity, "num_classes": 4})
  gates = anchored(member(start["params"], 0), known, bn_mode).trainable
  moves = (fidelity, bn_mode) != ("reference", "eval")
  assert bool(gates["stage2_attention"]["attention_biases"]) == moves
  assert gates["stage2_dense"]["kernel"] and not gates["stage1_conv"]["kernel"]


@pytest.mark.parametrize("k", [1, 3])
def test_a_network_without_block_names_trains_its_head_alone(k):
  """A stem is told by its name, but there is nothing after it to count."""
  dense = lambda width: {"kernel": np.zeros((3, width)), "bias": np.zeros(width)}
  params = {
    "stem": {"kernel": np.zeros((3, 3, 1, 3))},
    "hidden": dense(3),
    "classifier": dense(4),
    "scale": {"scale": np.zeros(3), "bias": np.zeros(3)},
  }
  gates = last_blocks(params, {"num_blocks": k}, 4)
  for name, leaves in gates.items():
    assert all(bool(gate) == (name == "classifier") for gate in leaves.values()), name


def test_refuses_an_unknown_mode_and_takes_what_the_reference_never_reads(start):
  method = get("cfk")
  with pytest.raises(MethodError, match="cfk: bn_mode must be one of eval, train, got 'frozen'"):
    method.hyperparameters({"bn_mode": "frozen"})
  message = "^cfk: num_blocks must be a whole number at least 1 and at most 1000, got 0$"
  with pytest.raises(MethodError, match=message):
    method.hyperparameters({"num_blocks": 0})
  dead = {"sgda_learning_rate": 0.5, "momentum": 0.3, "training_epoch_factor": 10}
  assert method.hyperparameters({**HP, **dead}) == method.hyperparameters(HP)
