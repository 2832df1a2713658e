"""Every method takes a short run on TinyViT: its attention tables, its stochastic depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden_rules

from jaxmu import models
from jaxmu.engine.population import Population, member_keys
from jaxmu.execution import predictions, runner
from jaxmu.models import structure
from jaxmu.training import Task
from jaxmu.training.task import Arrays
from jaxmu.unlearning import METHODS, get

SIZES = {"retain": 16, "forget": 8, "val": 8}
SPECIAL = {
  "cfk": {"num_blocks": 2},
  "euk": {"num_blocks": 2},
  "ff": {"alpha": 1e-8},
  "iu": {"alpha": 1.0},
  "prmq": {"num_epochs": 0.9, "prune_amount": 0.5},  # two steps
  "rni": {"num_epochs": 2, "reset_num_epochs": 0},
}
# Leaves that must stay as they are at the default fidelity: frozen blocks, and what has no gradient
# in the reference's eval mode.
first_block = lambda leaf: leaf.block in (0, 1)
table = lambda leaf: leaf.kind == "attn_bias"
STILL = {
  "ngplus": table,
  "cfk": lambda leaf: first_block(leaf) or table(leaf),
  "euk": first_block,
}


@pytest.fixture(scope="module")
def problem():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 10, sum(SIZES.values())).astype(np.int32)
  images = rng.standard_normal((len(labels), 32, 32, 3)).astype(np.float32)
  population = Population(1, devices=(jax.devices()[0],))
  arrays = population.share(Arrays(jnp.asarray(images), jnp.asarray(labels)))
  ends = np.cumsum(list(SIZES.values()))
  index = {n: np.arange(end - size, end)[None] for (n, size), end in zip(SIZES.items(), ends)}
  return runner.Problem(population, Task(models.make("tinyvit", 10), 10), arrays, index)


@pytest.fixture(scope="module")
def start():
  """Return random variables with leaves [1, ...]; no table and no scale is 0."""
  variables = models.from_torch("tinyvit", golden_rules.tinyvit_weights())
  return jax.tree.map(lambda leaf: np.asarray(leaf)[None], variables)


def short(name):
  """Return the hyper-parameters of one epoch of batches of 8 at small rates."""
  small = {"batch_size": 8, "num_epochs": 1, "learning_rate": 1e-4}
  found = {
    given: value
    for given in get(name).defaults
    for ending, value in small.items()
    if given.endswith(ending)
  }
  return get(name).hyperparameters(found | SPECIAL.get(name, {}))


def logits(problem, variables):
  return predictions.logits(problem.population, problem.task, problem.arrays, variables, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_short_run_ends_with_finite_logits(name, problem, start):
  outcome = runner.run(
    get(name), problem, start, hp=[short(name)], keys=member_keys([3]), on_leg=lambda leg: None
  )
  assert outcome.failures == ("",)
  after = problem.population.collect(outcome.variables)
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert shapes(after) == shapes(start)
  found = logits(problem, outcome.variables)
  assert found.shape == (1, 32, 10)
  assert np.isfinite(found).all()
  assert not np.allclose(found, logits(problem, start), atol=1e-4)
  still = STILL.get(name, lambda leaf: False)
  described = structure.describe(jax.tree.map(lambda leaf: leaf[0], start["params"]), 10)
  for leaf, old, new in zip(*map(jax.tree.leaves, (described, start["params"], after["params"]))):
    if still(leaf):
      np.testing.assert_array_equal(new, old, "/".join(leaf.path))
    elif name in STILL and leaf.head:
      assert not np.array_equal(new, old)
