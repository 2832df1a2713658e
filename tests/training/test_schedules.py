"""The tables of methods.md 0.5, for static and for traced arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.training import schedules

STEPS = 3  # per epoch

TRIANGLE = {
  1: [1],
  2: [1, 1 / 2],
  3: [1 / 2, 1, 1 / 2],
  4: [1 / 2, 1, 2 / 3, 1 / 3],
  5: [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3],
  6: [1 / 3, 2 / 3, 1, 3 / 4, 1 / 2, 1 / 4],
}
PASSED = {  # first -> epochs -> milestones passed, m(j)
  1: {1: [3], 2: [0, 3], 3: [0, 1, 3], 5: [0, 0, 1, 1, 3], 10: [0] * 5 + [1, 1, 1, 2, 3]},
  0: {1: [0], 2: [0, 0], 3: [0, 0, 1], 5: [0, 0, 0, 1, 1], 10: [0] * 6 + [1, 1, 1, 2]},
}


pytestmark = pytest.mark.usefixtures("x64")


def table(schedule, epochs):
  """Return the rates [E, steps] of all steps, each evaluated on its own."""
  rates = jax.vmap(schedule)(jnp.arange(epochs * STEPS, dtype=jnp.int32))
  return np.asarray(rates).reshape(epochs, STEPS)


def check(make, epochs, wanted):
  """Compare with one value per epoch: constant within it, and equal for traced arguments."""
  wanted = np.broadcast_to(np.reshape(wanted, (-1, 1)), (epochs, STEPS))
  np.testing.assert_allclose(table(make(0.2, epochs), epochs), wanted, rtol=1e-14)
  traced = jax.jit(lambda rate, e: jax.vmap(make(rate, e))(jnp.arange(10 * STEPS, dtype="int32")))
  found = traced(jnp.asarray(0.2), jnp.asarray(epochs, jnp.int32))[: epochs * STEPS]
  np.testing.assert_allclose(found, wanted.reshape(-1), rtol=1e-14)


@pytest.mark.parametrize("epochs", TRIANGLE)
def test_triangle(epochs):
  wanted = 0.2 * np.array(TRIANGLE[epochs])
  check(lambda rate, e: schedules.triangle(rate, e, STEPS), epochs, wanted)


@pytest.mark.parametrize("epochs", PASSED[0])
@pytest.mark.parametrize("first", [0, 1])
def test_drop(first, epochs):
  wanted = 0.2 * 0.1 ** np.array(PASSED[first][epochs])
  check(lambda rate, e: schedules.drop(rate, e, 0.1, STEPS, first), epochs, wanted)


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_cosine_starts_at_the_rate_and_never_reaches_zero(epochs):
  wanted = [0.2 * (1 + np.cos(np.pi * e / epochs)) / 2 for e in range(epochs)]
  check(lambda rate, e: schedules.cosine(rate, e, STEPS), epochs, wanted)
  assert wanted[0] == 0.2
  assert table(schedules.cosine(0.2, epochs, STEPS), epochs).min() > 0


def test_cosine_step_moves_at_every_step_between_its_ends():
  found = table(schedules.cosine_step(0.2, 2 * STEPS, minimum=0.05), 2).reshape(-1)
  wanted = [0.05 + 0.15 * (1 + np.cos(np.pi * k / 6)) / 2 for k in range(6)]
  np.testing.assert_allclose(found, wanted, rtol=1e-14)
  assert found[0] == 0.2
  np.testing.assert_allclose(schedules.cosine_step(0.2, 6, 0.05)(6), 0.05, rtol=1e-14)


def test_constant():
  check(lambda rate, e: schedules.constant(rate), 2, [0.2, 0.2])


def test_members_of_one_program_may_have_different_epochs():
  """The same compiled schedule gives every member the table of its own E."""
  steps = jnp.arange(6 * STEPS, dtype=jnp.int32)
  member = lambda rate, e: jax.vmap(schedules.triangle(rate, e, STEPS))(steps)
  rates, epochs = jnp.array([1.0, 0.5]), jnp.array([3, 6], jnp.int32)
  found = jax.jit(jax.vmap(member))(rates, epochs)
  np.testing.assert_allclose(found[0, : 3 * STEPS : STEPS], TRIANGLE[3], rtol=1e-14)
  np.testing.assert_allclose(found[1, ::STEPS], 0.5 * np.array(TRIANGLE[6]), rtol=1e-14)
