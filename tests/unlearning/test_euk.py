"""EU-k: CF-k after a re-initialisation of the trainable part (methods.md 3.2)."""

import flax
import jax
import numpy as np
import pytest
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

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

MEMBERS = (
  {**HP, "num_blocks": 1},
  {**HP, "num_blocks": 2, "sgda_weight_decay": 2.0},
  {**HP, "num_blocks": 7},
)
STILL = tuple({**hp, "learning_rate": 0.0} for hp in MEMBERS)  # refused of users; leaves the reset


@pytest.fixture(scope="module")
def start():
  with jax.enable_x64(True):
    return weights()


@pytest.fixture(scope="module")
def fresh(start):
  """Return replacements that no initialiser would draw, nor a reset give."""
  rng = np.random.default_rng(9)
  return {"fresh": jax.tree.map(lambda leaf: rng.normal(size=leaf.shape[1:]), start["params"])}


@pytest.fixture(scope="module")
def drawn(start):
  """Return the weights that fixed fidelity starts from, drawn."""
  return run("euk", start, *STILL)[0]["params"]


@pytest.fixture(scope="module")
def injected(start, fresh):
  """Return the weights that reference fidelity starts from, injected."""
  return run("euk", start, *STILL, fidelity="reference", draws=fresh)[0]["params"]


def from_weights(start, params, k):
  """Return variables of member k's weights and the original's statistics."""
  return {**start, "params": jax.tree.map(lambda leaf: leaf[k : k + 1], params)}


def expected(path, old, drawn):
  """Return a leaf after `euk_reset`, by name; None for a drawn kernel."""
  if path[0] in ("stage1_norm", "stage2_norm"):
    return np.ones_like(old) if path[-1] == "scale" else np.zeros_like(old)
  if path[0] in ("head", "stage2_dense") and path[-1] == "bias":
    return np.zeros_like(old)
  if path[0] in ("stage2_layer_norm", "stage2_attention"):
    return old
  return drawn


@pytest.mark.parametrize("k", range(3))
def test_re_initialises_every_leaf_of_the_part_as_listed(drawn, start, k):
  """Kernels stay within the bounds of their uniform draws; everything outside is untouched."""
  flat = flax.traverse_util.flatten_dict
  before, after = flat(member(start["params"], 0)), flat(member(drawn, k))
  bounds = {  # He by fan_out = 4, Glorot by fan_in + fan_out = 4 + 6 and 6 + 4
    "stage1_conv": np.sqrt(6 / 4),
    "stage2_dense": np.sqrt(6 / 10),
    "head": np.sqrt(6 / 10),
  }
  for path, inside in in_last_blocks(start, MEMBERS[k]["num_blocks"]).items():
    wanted = expected(path, before[path], None) if inside else before[path]
    if wanted is not None:
      np.testing.assert_array_equal(after[path], wanted, err_msg=str(path))
    else:
      bound = bounds.pop(path[0])
      assert 0.75 * bound < np.abs(after[path]).max() <= bound, path
      assert abs(after[path].mean()) < 0.5 * bound, path
  assert set(bounds) == ({"stage1_conv"} if k == 0 else set())


def test_injected_values_replace_the_drawn_kernels_and_nothing_else(injected, start, fresh):
  flat = flax.traverse_util.flatten_dict
  before, given = flat(member(start["params"], 0)), flat(fresh["fresh"])
  after = flat(member(injected, 1))
  for path, inside in in_last_blocks(start, 2).items():
    wanted = expected(path, before[path], given[path]) if inside else before[path]
    np.testing.assert_array_equal(after[path], wanted, err_msg=str(path))


@pytest.mark.parametrize("k", [0, 1])
def test_the_reference_is_cfk_from_re_initialised_weights(start, fresh, injected, k):
  """Anchored to them, too; and normalised with the old weights' statistics."""
  found, legs = run("euk", start, *MEMBERS, fidelity="reference", draws=fresh)
  new = from_weights(start, injected, k)
  params, _, losses, rates = naive(new, MEMBERS[k], module=Blocks(), train=False)
  close(member(found["params"], k), params)
  close(reported(legs, k), (losses, rates))
  assert equal(member(found["batch_stats"], k), member(start["batch_stats"], 0))


@pytest.mark.parametrize(("k", "first"), [(0, 2), (1, 1)])
def test_fixed_fidelity_normalises_re_initialised_blocks_by_their_batches(start, drawn, k, first):
  """Our default; the loop's network switches its layers by hand, the method by an interceptor."""
  found, legs = run("euk", start, *MEMBERS)
  new, module = from_weights(start, drawn, k), Blocks(first=first)
  params, stats, losses, rates = naive(new, MEMBERS[k], module=module, train=True, frozen=())
  close(member(found["params"], k), params)
  close(member(found["batch_stats"], k), stats)
  close(reported(legs, k), (losses, rates))
  for name, number in (("stem_norm", 0), ("stage1_norm", 1), ("stage2_norm", 2)):
    same = equal(member(found["batch_stats"][name], k), member(start["batch_stats"][name], 0))
    assert same == (number < first), name


@pytest.mark.parametrize("fidelity", ["reference", "fixed"])
def test_retain_samples_are_augmented_unlike_those_of_cfk(fidelity):
  options = {"fidelity": fidelity, "bn_mode": "eval", "batch_size": 8}
  augmented = lambda name: [p.augment for phase in get(name).phases(options) for p in phase.passes]
  assert augmented("euk") == [True]
  assert augmented("cfk") == [False]


def test_refuses_fresh_values_of_other_shapes(start, fresh):
  wrong = {"fresh": {**fresh["fresh"], "head": {"kernel": np.ones((4, 6)), "bias": np.ones(4)}}}
  with pytest.raises(MethodError, match="euk: fresh must be a tree like params, with leaves of"):
    run("euk", start, *STILL, draws=wrong)


def test_takes_and_ignores_what_the_reference_never_reads():
  method = get("euk")
  dead = {"sgda_learning_rate": 0.5, "momentum": 0.3, "training_epoch_factor": 10}
  assert method.hyperparameters(dead) == method.hyperparameters({})
  assert method.resolve_fidelity(None) == "fixed"
