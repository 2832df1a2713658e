"""Short runs of any method on a network of images of 32 pixels: a problem and hyper-parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.engine.population import Population, member_keys
from jaxmu.execution import predictions, runner
from jaxmu.training import Task
from jaxmu.training.task import Arrays
from jaxmu.unlearning import get

SIZES = {"retain": 16, "forget": 8, "val": 8}
SPECIAL = {
  "ff": {"alpha": 1e-8},
  "iu": {"alpha": 1.0},
  "prmq": {"num_epochs": 0.9, "prune_amount": 0.5},  # two steps
  "rni": {"num_epochs": 2, "reset_num_epochs": 0},
}


def problem(module: nn.Module) -> runner.Problem:
  """Return random images of ten classes, for one member."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 10, sum(SIZES.values())).astype(np.int32)
  images = rng.standard_normal((len(labels), 32, 32, 3)).astype(np.float32)
  population = Population(1, devices=(jax.devices()[0],))
  arrays = population.share(Arrays(jnp.asarray(images), jnp.asarray(labels)))
  ends = np.cumsum(list(SIZES.values()))
  index = {n: np.arange(end - size, end)[None] for (n, size), end in zip(SIZES.items(), ends)}
  return runner.Problem(population, Task(module, 10), arrays, index)


def hyperparameters(name: str, **special):
  """Return the hyper-parameters of one epoch of batches of 8 at small rates."""
  small = {"batch_size": 8, "num_epochs": 1, "learning_rate": 1e-4}
  found = {
    given: value
    for given in get(name).defaults
    for ending, value in small.items()
    if given.endswith(ending)
  }
  return get(name).hyperparameters(found | SPECIAL.get(name, {}) | special)


def run(name: str, problem: runner.Problem, start, **special):
  """Return the variables after a short run, leaves [1, ...], and its logits [1, 32, 10]."""
  hp = hyperparameters(name, **special)
  outcome = runner.run(
    get(name), problem, start, hp=[hp], keys=member_keys([3]), on_leg=lambda leg: None
  )
  assert outcome.failures == ("",)
  return problem.population.collect(outcome.variables), logits(problem, outcome.variables)


def logits(problem: runner.Problem, variables) -> np.ndarray:
  """Return the logits [1, 32, 10] of all images."""
  return predictions.logits(problem.population, problem.task, problem.arrays, variables, 8)
