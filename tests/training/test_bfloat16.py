"""The network in bfloat16, everything that is kept in float32."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import problems

from jaxmu.engine.population import member_keys
from jaxmu.errors import MethodError
from jaxmu.execution import predictions, runner
from jaxmu.training import Task, losses
from jaxmu.unlearning import get

TASKS = {
  name: Task(problems.TinyNet(), problems.CLASSES, compute=name) for name in ("float32", "bfloat16")
}


def gradient(compute, train=True):
  """Return loss, new statistics and the flat gradient of one batch."""
  x, y = problems.samples()
  variables = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), problems.weights([3]))

  @jax.jit
  def loss(params):
    logits, stats = TASKS[compute].forward(params, variables["batch_stats"], x, train=train)
    assert logits.dtype == jnp.float32
    return losses.mean(losses.cross_entropy(logits, y)), stats

  (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((grads, stats)))
  stats = jax.tree.map(np.asarray, stats)
  return value, stats, np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(grads)])


@pytest.mark.parametrize("train", [True, False])
def test_gradients_are_those_of_float32_rounded(train):
  (loss, stats, grads), (low, moved, rough) = (gradient(name, train) for name in TASKS)
  cosine = grads @ rough / np.linalg.norm(grads) / np.linalg.norm(rough)
  assert cosine > 0.999
  assert np.linalg.norm(rough) == pytest.approx(np.linalg.norm(grads), rel=0.02)
  assert float(low) == pytest.approx(float(loss), rel=0.01)
  assert not np.array_equal(grads, rough)  # it did compute in another type
  # bfloat16 rounds to 2 or 3 digits; statistics of 38 x 36 rounded values keep more.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3), stats, moved)


def convolution_types(compute):
  """Return the result types of all convolutions of a forward and backward pass."""
  variables = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), problems.weights([3]))

  def total(params, x):
    return TASKS[compute].forward(params, variables["batch_stats"], x, train=True)[0].sum()

  text = str(jax.make_jaxpr(jax.grad(total))(variables["params"], problems.samples()[0]))
  return set(re.findall(r":(\w+)\[[\d,]*\] = conv_general_dilated", text))


def test_convolutions_and_their_gradients_run_in_the_chosen_type():
  assert convolution_types("float32") == {"f32"}
  assert convolution_types("bfloat16") == {"bf16"}


def trained(compute, epochs=6):
  problem, method, legs = problems.problem(2), get("original"), []
  problem = dataclasses.replace(problem, task=TASKS[compute])
  hp = method.hyperparameters(
    {"batch_size": 8, "num_epochs": epochs, "learning_rate": 0.2, "weight_decay": 0.0}
  )
  outcome = runner.run(
    method,
    problem,
    problems.weights([0, 1]),
    hp=[hp] * 2,
    keys=member_keys([0, 1]),
    on_leg=lambda leg: legs.append((leg.metrics, leg.snapshot())),
  )
  return problem, outcome, legs


def test_training_lowers_the_loss_and_keeps_its_state_in_float32():
  _, outcome, legs = trained("bfloat16")
  first, last = legs[0][0].loss.mean(1), legs[-1][0].loss.mean(1)
  assert (last < 0.7 * first).all()
  kept = (outcome.variables, legs[-1][1].optimizers, legs[0][0])
  inexact = [leaf for leaf in jax.tree.leaves(kept) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
  assert len(inexact) > 10
  assert {leaf.dtype.name for leaf in inexact} == {"float32"}
  # Weights take steps that bfloat16 could not represent.
  kernel = np.asarray(outcome.variables["params"]["head"]["kernel"])
  assert not np.array_equal(kernel, np.asarray(jnp.asarray(kernel).astype(jnp.bfloat16), "float32"))
  _, exact, _ = trained("float32")
  assert not problems.equal(exact.variables, outcome.variables)


def test_predictions_are_float32_whatever_the_task_trains_in():
  problem, outcome, _ = trained("bfloat16", epochs=1)
  given = [problem.arrays, outcome.variables]
  found = predictions.logits(problem.population, problem.task, *given)
  np.testing.assert_array_equal(
    found, predictions.logits(problem.population, TASKS["float32"], *given)
  )
  assert found.dtype == np.float32


def test_refuses_other_types():
  with pytest.raises(MethodError, match=r"computes in float32 or bfloat16, not in 'float16'$"):
    Task(problems.TinyNet(), 4, compute="float16")
