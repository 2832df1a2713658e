"""NG+ on TinyViT against PyTorch: its eval mode reads copies of the attention biases (2.4)."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden_rules, torch_ngplus

from jaxmu import models
from jaxmu.engine.population import Population, member_keys
from jaxmu.execution import predictions, runner
from jaxmu.training import Task
from jaxmu.training.task import Arrays
from jaxmu.unlearning import ngplus

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

STORED = Path(__file__).parent / "data" / "ngplus_tinyvit.json"  # made by torch_ngplus
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def stored():
  """Return, for each way to read the biases, the logits [3, 10] that PyTorch gave."""
  return {name: np.array(rows) for name, rows in json.loads(STORED.read_text()).items()}


def widest(a, b):
  return np.abs(a - b).max()


@pytest.fixture(scope="module")
def found():
  """Return the logits [3, 10] of the test images after NG+ in stored order."""
  made = torch_ngplus.samples()
  x = np.concatenate([images for images, _ in made.values()]).transpose(0, 2, 3, 1)
  y = np.concatenate([labels for _, labels in made.values()])
  ends = dict(zip(made, np.cumsum([len(labels) for _, labels in made.values()])))
  index = {n: np.arange(ends[n] - torch_ngplus.SIZES[n], ends[n])[None] for n in ends}
  population = Population(1, devices=(jax.devices()[0],))
  task = Task(models.make("tinyvit", 10, drop_path=0.0), 10, shuffle=False)
  arrays = population.share(Arrays(jnp.asarray(x), jnp.asarray(y, jnp.int32)))
  start = models.from_torch("tinyvit", golden_rules.tinyvit_weights())
  outcome = runner.run(
    ngplus.METHOD,
    runner.Problem(population, task, arrays, index),
    jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[None], start),
    hp=[ngplus.METHOD.hyperparameters(torch_ngplus.HP)],
    keys=member_keys([0]),
  )
  (logits,) = predictions.logits(population, task, arrays, outcome.variables)
  return logits[index["test"][0]]


@pytest.mark.slow
def test_the_replay_of_the_reference_is_met(found, stored):
  assert widest(found, stored["epoch"]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["never", "step"])
def test_biases_that_rest_or_are_read_anew_at_every_step_would_show(found, stored, reading):
  """Frozen biases, as with no gradient at all; and a network without copies."""
  assert widest(found, stored[reading]) > 1e4 * TOLERANCE


@pytest.mark.parametrize("reading", torch_ngplus.READINGS)
def test_the_stored_numbers_are_those_of_pytorch(stored, reading):
  pytest.importorskip("torch", reason="PyTorch makes the stored numbers again")
  assert widest(torch_ngplus.replay(reading), stored[reading]) < TOLERANCE
