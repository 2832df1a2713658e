"""Logits of a population: those of each member alone, in eval mode, for any layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import problems

from jaxmu import models
from jaxmu.data import augment
from jaxmu.engine.population import Population
from jaxmu.execution import predictions
from jaxmu.training import Task
from jaxmu.training.task import Arrays

SEEDS = (3, 4, 5)


@pytest.fixture(scope="module")
def variables():
  """Return three networks whose running statistics are far from those of any batch."""
  rng = np.random.default_rng(0)
  draw = lambda low, high: rng.uniform(low, high, (3, 4)).astype(np.float32)
  stats = {"norm": {"mean": draw(-2, 2), "var": draw(0.2, 5)}}
  return {"params": problems.weights(SEEDS)["params"], "batch_stats": stats}


@pytest.fixture(scope="module")
def alone(variables):
  """Return the logits [3, 38, 4] of every member by a plain call, in eval and in train mode."""
  x, found = jnp.asarray(problems.samples()[0]), {}
  for train in (False, True):
    run = jax.jit(
      lambda p, s, train=train: models.forward(problems.TinyNet(), p, s, x, train=train)[0]
    )
    members = [jax.tree.map(lambda leaf, k=k: leaf[k], variables) for k in range(3)]
    found[train] = np.stack([run(m["params"], m["batch_stats"]) for m in members])
  return found


def logits(variables, *, devices=2, chunk=1, batch_size=8, task=None, images=None):
  population = Population(3, chunk, tuple(jax.devices()[:devices]))
  x, y = problems.samples()
  arrays = Arrays(jnp.asarray(x if images is None else images), jnp.asarray(y))
  task = task or Task(problems.TinyNet(), problems.CLASSES)
  return predictions.logits(population, task, population.share(arrays), variables, batch_size)


@pytest.mark.parametrize(
  "layout",
  [
    {},  # 38 samples in batches of 8: a rest of 6
    {"batch_size": 19},
    {"batch_size": 500},
    {"batch_size": 37},
    {"devices": 1, "chunk": 3},
  ],
)
def test_members_in_any_layout_equal_single_calls_in_eval_mode(layout, variables, alone):
  found = logits(variables, **layout)
  assert isinstance(found, np.ndarray)
  assert found.shape == (3, 38, 4)
  np.testing.assert_allclose(found, alone[False], atol=1e-5)
  assert np.abs(found - alone[True]).max() > 0.1  # train mode would show


def test_variables_on_the_devices_are_read_and_kept(variables, alone):
  population = Population(3, devices=tuple(jax.devices()[:2]))
  placed = population.place(variables)
  for _ in range(2):
    np.testing.assert_allclose(logits(placed), alone[False], atol=1e-5)
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(placed))


def test_stored_images_are_normalised_and_never_augmented(variables):
  """uint8 images under a random flip: twice the same logits, those of the images as they are."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (38, 6, 6, 1), np.uint8)
  spec = augment.Preprocess(mean=(0.5,), std=(0.25,), augmentation="flip", channels=1)
  task = Task(problems.TinyNet(), problems.CLASSES, spec)
  ready = ((images / 255 - 0.5) / 0.25).astype(np.float32)
  found = logits(variables, task=task, images=images)
  np.testing.assert_allclose(found, logits(variables, images=ready), atol=1e-5)
