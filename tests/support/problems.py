"""A tiny problem for every method: four classes of 6x6 images, two convolutions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.engine.population import Population, member_keys
from jaxmu.execution import runner
from jaxmu.models.layers import Conv, Linear
from jaxmu.models.norm import BatchNorm
from jaxmu.training import Task
from jaxmu.training.task import Arrays
from jaxmu.unlearning import get

SIZES = {"retain": 22, "forget": 10, "val": 6}
CLASSES = 4
# The default run takes methods that between them have every part of the contract: passes, paired
# streams, gates, hooks with memory, masks, replays, teachers, single edits. The rest is slow.
DAILY = ("original", "ft", "ngplus", "bt", "scrub", "msg", "rni", "iu")


class Row(NamedTuple):
  """What the battery needs to know about a method.

  Attributes:
    small: hyper-parameters of a short run of two epochs.
    longer: the same of a run of three epochs; empty for methods without epochs.
    vary: three members' hyper-parameters; the first has one epoch less than the others.
    gentle: hyper-parameters of so small a step that vmap's other order of sums stays round-off.
    legs: number of legs of the short run.
    frozen_norm: True where BatchNorm statistics stay as they were.
    random: False where the result does not depend on the key.
  """

  small: Mapping[str, Any]
  longer: Mapping[str, Any]
  vary: tuple[Mapping[str, Any], ...]
  gentle: Mapping[str, Any]
  legs: int = 2
  frozen_norm: bool = False
  random: bool = True


def usual(name: str) -> Row:
  """Return the row of a method with one rate and one number of epochs, from what it declares."""
  method = get(name)
  static = {key: method.defaults[key] for key in method.static}
  phases = method.phases({**static, "fidelity": method.fidelity, "num_classes": CLASSES})
  return Row(
    small={**{key: 8 for key in static if key.endswith("batch_size")}, "num_epochs": 2},
    longer={"num_epochs": 3},
    vary=tuple(
      {"learning_rate": rate, "num_epochs": epochs}
      for rate, epochs in ((0.01, 1), (0.03, 2), (0.02, 2))
    ),
    gentle={"learning_rate": 1e-3},
    legs=2 * len(phases),
    frozen_norm=all(p.batch_norm == "eval" for phase in phases for p in phase.passes),
  )


class Rows(dict):
  """Method -> row; a method without one is taken for a usual one."""

  def __missing__(self, name):
    return usual(name)


TABLE = Rows(
  {
    "euk": usual("euk")._replace(frozen_norm=True),  # the only norm layer is outside the blocks
    "ff": Row(
      small={"batch_size": 8, "alpha": 1e-4},
      longer={},
      vary=({"alpha": 1e-6}, {"alpha": 1e-3}, {"alpha": 1e-5}),
      gentle={"alpha": 1e-7},
      legs=0,
      frozen_norm=True,
    ),
    "iu": Row(
      small={"batch_size": 8, "alpha": 2.0},
      longer={},
      vary=({"alpha": 0.1}, {"alpha": 20.0}, {"alpha": 1.0}),
      gentle={"alpha": 1.0},
      legs=0,
      frozen_norm=True,
      random=False,
    ),
    "scrub": Row(  # at this rate a member goes back to its first epoch
      small={
        "retain_batch_size": 8,
        "forget_batch_size": 8,
        "sgda_num_epochs": 2,
        "sgda_learning_rate": 0.05,
      },
      longer={"sgda_num_epochs": 3},
      vary=(
        {"sgda_learning_rate": 0.01, "sgda_num_epochs": 1},
        {"sgda_learning_rate": 0.03, "kd_T": 4.0},
        {"msteps": 1, "alpha": 0.1},
      ),
      gentle={"sgda_learning_rate": 1e-3},
    ),
    "fcs": Row(
      small={"batch_size": 8, "num_epochs": 2},
      longer={"num_epochs": 3},
      vary=(
        {"learning_rate": 0.01, "num_epochs": 1},
        {"forget_optimizer_learning_rate": 0.003, "temperature": 2.0},
        {"retain_optimizer_learning_rate": 0.1, "eta_min": 1e-4},
      ),
      gentle={"learning_rate": 1e-3},
      legs=3,
    ),
    "prmq": Row(  # 3 batches: 6 steps, 9 steps
      small={"batch_size": 8, "num_epochs": 1.9, "prune_amount": 0.5},
      longer={"num_epochs": 2.9},
      vary=(
        {"learning_rate": 0.01, "num_epochs": 0.9},
        {"learning_rate": 0.03, "num_epochs": 1.9, "prune_amount": 0.8},
        {"learning_rate": 0.02, "num_epochs": 1.4},
      ),
      gentle={"learning_rate": 1e-3},
    ),
    "kde": Row(
      small={"batch_size": 8, "num_epochs": 1, "retain_num_epochs": 2},
      longer={"num_epochs": 2},
      vary=(
        {"learning_rate": 0.01, "retain_num_epochs": 1},
        {"retain_optimizer_learning_rate": 0.03, "temperature": 2.0},
        {"num_epochs": 2},
      ),
      gentle={"learning_rate": 1e-3},
      legs=3,
    ),
    "rni": Row(
      small={"batch_size": 8, "num_epochs": 2, "fine_num_epochs": 1, "reset_num_epochs": 0},
      longer={"num_epochs": 3},
      vary=(
        {"learning_rate": 0.01, "num_epochs": 1},
        {"learning_rate": 0.03, "noise_ratio": 0.2},
        {"fine_optimizer_learning_rate": (0.02, 0.01), "reset_num_epochs": 1},
      ),
      gentle={"learning_rate": 1e-3},
    ),
  }
)


class TinyNet(nn.Module):
  """Two convolutions and a head: little to compile, but every kind of leaf."""

  num_classes: int = CLASSES

  @nn.compact
  def __call__(self, x, train=False, mask=None):
    x = Conv(4, 3, 1, 1, name="stem")(x)
    x = jax.nn.relu(BatchNorm(name="norm")(x, train=train, mask=mask))
    x = jax.nn.relu(Conv(6, 3, 2, 1, name="stage1")(x))
    return Linear(self.num_classes, name="head")(jnp.mean(x, (1, 2)))


def daily(names, of=DAILY):
  """Mark the tests of all but the daily methods slow."""
  return [n if n in of else pytest.param(n, marks=pytest.mark.slow) for n in names]


def samples(seed=0):
  """Return x float [38, 6, 6, 1] and y [38], one pattern per class with noise."""
  rng = np.random.default_rng(seed)
  y = rng.integers(0, CLASSES, sum(SIZES.values()))
  patterns = rng.normal(size=(CLASSES, 6, 6, 1))
  x = patterns[y] + 0.5 * rng.normal(size=(len(y), 6, 6, 1))
  return x.astype(np.float32), y.astype(np.int32)


def index(members=1, shifts=None):
  """Return set -> int [K, n]; a shift gives a member another split of the same samples."""
  ends = np.cumsum(list(SIZES.values()))
  shifts = [0] * members if shifts is None else shifts
  order = lambda shift: np.roll(np.arange(ends[-1]), shift)
  return {
    name: np.stack([order(shift)[end - size : end] for shift in shifts])
    for (name, size), end in zip(SIZES.items(), ends)
  }


def ragged(counts, like=SIZES, pad=None):
  """Return index and counts of members with fewer samples in their sets than others.

  Args:
    counts: set name -> samples of each member; other sets are whole.
    pad: what stands behind a member's samples; None: the first of them again.
  """
  members = len(next(iter(counts.values())))
  whole = index(members)
  for name, own in counts.items():
    for positions, n in zip(whole[name], own):
      positions[n:] = np.resize(positions[:n], len(positions) - n) if pad is None else pad
  return whole, {name: np.asarray(counts.get(name, [like[name]] * members)) for name in like}


def problem(members=1, *, chunk=1, devices=1, shifts=None, x=None, y=None, shuffle=True, sets=None):
  """Return a runner.Problem over the tiny data; `sets` are index and counts of its own."""
  population = Population(members, chunk=chunk, devices=tuple(jax.devices()[:devices]))
  default_x, default_y = samples()
  x, y = default_x if x is None else x, default_y if y is None else y
  task = Task(TinyNet(), CLASSES, shuffle=shuffle)
  arrays = population.share(Arrays(jnp.asarray(x), jnp.asarray(y)))
  return runner.Problem(population, task, arrays, *(sets or (index(members, shifts),)))


def weights(seeds):
  """Return initial variables of several seeds, leaves [K, ...], as NumPy arrays."""
  each = [TinyNet().init(jax.random.key(seed), jnp.zeros((1, 6, 6, 1))) for seed in seeds]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def run(name, problem, variables, seeds, hp=None, **options):
  """Run a method with small defaults; returns (NumPy variables [K, ...], legs, outcome).

  Epochs that are run again only to rewind are left out of the legs.
  """
  method, legs = get(name), []
  each = hp if isinstance(hp, list) else [hp or {}] * len(seeds)
  outcome = runner.run(
    method,
    problem,
    variables,
    hp=[method.hyperparameters({**TABLE[name].small, **given}) for given in each],
    keys=member_keys(seeds),
    on_leg=lambda leg: None if leg.replay else legs.append(leg),
    **options,
  )
  return problem.population.collect(outcome.variables), legs, outcome


def equal(a, b):
  """Tell whether two trees are equal bit for bit."""
  same = lambda x, y: np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True)
  return all(jax.tree.leaves(jax.tree.map(same, a, b)))
