"""Every method takes a short run on narrow copies of torchvision's networks."""

import jax
import numpy as np
import pytest
from support import short_runs

from jaxmu.models import structure
from jaxmu.models.resnet50 import ResNet50
from jaxmu.models.vit import VisionTransformer
from jaxmu.unlearning import METHODS


class Narrow50(ResNet50):
  depths = (1, 2, 1)
  widths = (2, 3, 4)


class NarrowVit(VisionTransformer):
  called = "narrow"
  width, depth, heads, hidden = 12, 3, 2, 20


NETWORKS = {"resnet50": Narrow50(10), "vit_b_16": NarrowVit(10)}
DAILY = ("cfk",)
FROZEN = ("cfk", "euk")  # all but the last of three blocks
SPECIAL = {"scrub": {"lr_decay_rate": 1.0}}  # a single epoch's rate would be 1000 times smaller


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
  """Return a problem and random variables with leaves [1, ...]; no head and no embedding is 0."""
  module, rng = NETWORKS[request.param], np.random.default_rng(0)
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
  shapes = {"batch_stats": {}} | jax.eval_shape(module.init, jax.random.key(0), image)
  draw = lambda leaf: rng.normal(0, 0.3, (1, *leaf.shape)).astype(np.float32)
  statistics = jax.tree.map(lambda leaf: 1 + np.abs(draw(leaf)), shapes["batch_stats"])
  params = jax.tree.map(draw, shapes["params"])
  return short_runs.problem(module), {"params": params, "batch_stats": statistics}


@pytest.mark.parametrize(
  "name", [n if n in DAILY else pytest.param(n, marks=pytest.mark.slow) for n in METHODS]
)
def test_a_short_run_ends_with_finite_logits(name, case):
  problem, start = case
  after, found = short_runs.run(name, problem, start, **SPECIAL.get(name, {}))
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert shapes(after) == shapes(start)
  assert np.isfinite(found).all()
  assert not np.allclose(found, short_runs.logits(problem, start), atol=1e-5)
  described = structure.describe(jax.tree.map(lambda leaf: leaf[0], start["params"]), 10)
  assert {leaf.block for leaf in jax.tree.leaves(described)} == {0, 1, 2, 3, None}
  for leaf, old, new in zip(*map(jax.tree.leaves, (described, start["params"], after["params"]))):
    if name in FROZEN and leaf.block in (0, 1, 2):
      np.testing.assert_array_equal(new, old, "/".join(leaf.path))
    elif leaf.head and leaf.kind == "linear_w" and name in FROZEN:
      assert not np.array_equal(new, old)
