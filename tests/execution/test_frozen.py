"""Members that failed before rest, and leave the others alone."""

import jax
import pytest
from support import problems

SEEDS = (3, 4, 5)
FAILURE = "fine-tune: epoch 2 (steps 5-9)"


@pytest.mark.parametrize("name", ["ft", "scrub"])
def test_a_member_that_failed_before_rests_and_keeps_its_failure(name):
  start = problems.weights(SEEDS)
  problem = problems.problem(3, devices=2)
  whole, _, _ = problems.run(name, problem, start, SEEDS)
  given = {"failed": ("", FAILURE, "")}
  found, legs, outcome = problems.run(name, problem, start, SEEDS, **given)
  assert outcome.failures == ("", FAILURE, "")
  of = lambda tree, k: jax.tree.map(lambda leaf: leaf[k], tree)
  assert problems.equal(of(found, 1), of(start, 1))
  assert all(problems.equal(of(found, k), of(whole, k)) for k in (0, 2))
  assert all(problems.equal(leg.metrics.loss[1], [float("nan")] * leg.steps) for leg in legs)
