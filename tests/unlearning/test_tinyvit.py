"""Every method takes a short run on TinyViT: its attention tables, its stochastic depth."""

import jax
import numpy as np
import pytest
from support import golden_rules, short_runs

from jaxmu import models
from jaxmu.models import structure
from jaxmu.unlearning import METHODS

BLOCKS = {"cfk": {"num_blocks": 2}, "euk": {"num_blocks": 2}}
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
  return short_runs.problem(models.make("tinyvit", 10))


@pytest.fixture(scope="module")
def start():
  """Return random variables with leaves [1, ...]; no table and no scale is 0."""
  variables = models.from_torch("tinyvit", golden_rules.tinyvit_weights())
  return jax.tree.map(lambda leaf: np.asarray(leaf)[None], variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_short_run_ends_with_finite_logits(name, problem, start):
  after, found = short_runs.run(name, problem, start, **BLOCKS.get(name, {}))
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert shapes(after) == shapes(start)
  assert found.shape == (1, 32, 10)
  assert np.isfinite(found).all()
  assert not np.allclose(found, short_runs.logits(problem, start), atol=1e-4)
  still = STILL.get(name, lambda leaf: False)
  described = structure.describe(jax.tree.map(lambda leaf: leaf[0], start["params"]), 10)
  for leaf, old, new in zip(*map(jax.tree.leaves, (described, start["params"], after["params"]))):
    if still(leaf):
      np.testing.assert_array_equal(new, old, "/".join(leaf.path))
    elif name in STILL and leaf.head:
      assert not np.array_equal(new, old)
