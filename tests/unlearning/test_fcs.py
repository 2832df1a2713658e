"""FCS: its three losses, rates and optimizers against a loop by hand (methods.md 6.1), float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems

from jaxmu import models
from jaxmu.data.streams import Pair
from jaxmu.engine.population import member_keys
from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.training.method import FIXED, REFERENCE
from jaxmu.training.task import Batch
from jaxmu.unlearning import fcs

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

SEEDS = (1,)
BATCH = 8
# 22 retain samples in batches of 8, 8 and 6; 10 forget samples in batches of 8 and 2.
HP = {
  **fcs.METHOD.defaults,
  "learning_rate": 0.02,
  "weight_decay": 0.01,
  "forget_optimizer_learning_rate": 0.01,
  "forget_optimizer_momentum": 0.5,
  "forget_optimizer_weight_decay": 0.003,
  "retain_optimizer_learning_rate": 0.2,
  "eta_min": 1e-3,
  "temperature": 0.7,
  "batch_size": BATCH,
  "num_epochs": 2,
}


@pytest.fixture(scope="module")
def data():
  x, y = problems.samples()
  return x.astype(np.float64), y


@pytest.fixture(scope="module")
def start():
  """Return initial weights with statistics that are not the initial ones."""
  variables = problems.weights(SEEDS)
  stats = {"norm": {"mean": np.full((1, 4), 0.2), "var": np.full((1, 4), 1.5)}}
  return {"params": variables["params"], "batch_stats": stats}


@pytest.fixture(scope="module")
def alone(start):
  return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), start)


def execute(data, start):
  """Run one member in stored order; returns its variables, and per step (loss, rate)."""
  legs, problem = [], problems.problem(1, x=data[0], y=data[1], shuffle=False)
  outcome = runner.run(
    fcs.METHOD, problem, start, hp=[HP], keys=member_keys(SEEDS), on_leg=legs.append
  )
  found = jax.tree.map(lambda leaf: leaf[0], problem.population.collect(outcome.variables))
  steps = [
    np.concatenate([getattr(leg.metrics, name)[0] for leg in legs])
    for name in ("loss", "learning_rate")
  ]
  return found, np.stack(steps, 1), outcome


def close(found, wanted, rtol=1e-9):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
  jax.tree.map(compare, found, wanted)


@jax.jit
def pull_back(params, stats, x, dz):
  """Return train-mode logits, moved statistics, and dz pulled back to the parameters."""
  run = lambda p: models.forward(problems.TinyNet(), p, stats, x, train=True)
  logits, pull, moved = jax.vjp(run, params, has_aux=True)
  return logits, moved, pull(dz)[0]


def softmax(z):
  e = np.exp(z - z.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def to_uniform(z, _):
  """Mean KL(u || p), u uniform over four classes, and its derivative by z."""
  p = softmax(z)
  return np.mean(np.sum(0.25 * np.log(0.25 / p), 1)), (p - 0.25) / len(z)


def to_retain(z, z_r):
  """Mean over all entries of -log_softmax of the similarities; Z_r is a constant."""
  p = softmax(z @ z_r.T / HP["temperature"])
  return -np.log(p).mean(), (p - 1 / len(z_r)) / len(z) @ z_r / HP["temperature"]


def to_labels(z, y):
  p = softmax(z)
  return -np.log(p[np.arange(len(y)), y]).mean(), (p - np.eye(4)[y]) / len(z)


class Naive:
  """The algorithm of methods.md 6.1, with three optimizers and batches as they are."""

  def __init__(self, data, alone):
    self.x, self.y = data
    self.params, self.stats = alone["params"], alone["batch_stats"]
    self.buffers, self.steps = {}, []

  def forward(self, stats, batch):
    z, moved, _ = pull_back(self.params, stats, self.x[batch], np.zeros((len(batch), 4)))
    return np.asarray(z), moved

  def step(self, group, loss, batch, rate, target):
    z, moved = self.forward(self.stats, batch)
    if loss is to_retain:
      target, moved = self.forward(moved, target)
    value, dz = loss(z, target)
    *_, grads = pull_back(self.params, self.stats, self.x[batch], dz)
    mu, decay = HP[f"{group}momentum"], HP[f"{group}weight_decay"]
    force = jax.tree.map(lambda g, p: g + decay * p, grads, self.params)
    buffer = self.buffers.get(group, jax.tree.map(np.zeros_like, force))
    self.buffers[group] = jax.tree.map(lambda b, g: mu * b + g, buffer, force)
    self.params = jax.tree.map(lambda p, b: p - rate * b, self.params, self.buffers[group])
    self.stats = moved
    self.steps.append((value, rate))

  def run(self, retain, forget):
    cut = lambda places: [places[i : i + BATCH] for i in range(0, len(places), BATCH)]
    for batch in cut(forget):
      self.step("", to_uniform, batch, HP["learning_rate"], None)
    horizon, k = HP["num_epochs"] * len(cut(forget)), 0
    top, bottom = HP["forget_optimizer_learning_rate"], HP["eta_min"]
    for _ in range(HP["num_epochs"]):
      for batch, partner in zip(cut(forget), cut(retain)):
        rate = bottom + (top - bottom) * (1 + math.cos(math.pi * k / horizon)) / 2
        self.step("forget_optimizer_", to_retain, batch, rate, partner)
        k += 1
      for batch in cut(retain):
        rate = HP["retain_optimizer_learning_rate"] * BATCH / 64
        self.step("retain_optimizer_", to_labels, batch, rate, self.y[batch])
    return {"params": self.params, "batch_stats": self.stats}


def test_equals_a_loop_over_unequal_batches(data, start, alone):
  """Stage 1, then two epochs of two pairs and three retain batches; padded here, not there.

  Work: 10 samples in stage 1; per epoch pairs of 10 and 16 samples, then 22 retain samples.
  """
  found, steps, outcome = execute(data, start)
  loop, index = Naive(data, alone), problems.index()
  close(found, loop.run(index["retain"][0], index["forget"][0]))
  close(steps, np.array(loop.steps))
  assert len(steps) == 2 + 2 * (2 + 3)
  assert outcome.passes == (3 * (10 + 2 * (10 + 16 + 22)),)


# Identities of methods.md 12


def whole(params, batch_stats, x, weight=None):
  return models.forward(problems.TinyNet(), params, batch_stats, x, train=True, mask=weight)


KNOWN = contract.step(HP, forward=whole)


def test_the_first_stage_rests_at_uniform_outputs(data, alone):
  head = alone["params"]["head"]
  flat = {"kernel": jnp.zeros_like(head["kernel"]), "bias": jnp.full_like(head["bias"], 1.7)}
  batch = Batch(data[0][:BATCH], data[1][:BATCH])

  @jax.jit
  def both(params):
    loss = lambda p: fcs.flatten(p, alone["batch_stats"], batch, KNOWN)[0]
    return jax.value_and_grad(loss)(params)

  value, grads = both({**alone["params"], "head": flat})
  np.testing.assert_allclose(value, 0, atol=1e-14)
  jax.tree.map(lambda g: np.testing.assert_allclose(g, 0, atol=1e-14), grads)
  value, grads = both(alone["params"])
  assert value > 1e-4  # a divergence is positive elsewhere
  assert max(jnp.abs(g).max() for g in jax.tree.leaves(grads)) > 1e-3


def test_the_contrast_is_least_where_all_similarities_are_equal():
  rng = np.random.default_rng(0)
  for n in (2, 5, 40):
    z_f, z_r = rng.normal(size=(6, 4)), rng.normal(size=(n, 4))
    assert (fcs.uniformity(z_f, z_r, 1.15) > math.log(n) + 1e-3).all()
    equal = np.broadcast_to(z_r[:1], z_r.shape)
    np.testing.assert_allclose(fcs.uniformity(z_f, equal, 1.15), math.log(n), rtol=1e-14)
    wanted = -jax.nn.log_softmax(z_f @ z_r.T / 1.15, axis=1).mean(1)
    np.testing.assert_allclose(fcs.uniformity(z_f, z_r, 1.15), wanted, rtol=1e-13)


@jax.jit
def contrast(alone, pair):
  """Return ((loss, Report), gradient) of the contrast on a pair of batches."""
  loss = lambda p: fcs.contrast(p, alone["batch_stats"], pair, KNOWN)
  return jax.value_and_grad(loss, has_aux=True)(alone["params"])


def pair_of(data, retain, forget, weights=(None, None)):
  of = lambda places, weight: Batch(data[0][places], data[1][places], weight)
  return Pair(of(retain, weights[0]), of(forget, weights[1]))


RETAIN, FORGET, JUNK = np.arange(6), np.arange(22, 28), np.arange(10, 13)


def test_no_gradient_reaches_the_network_through_the_retain_logits(data, alone):
  """It is that of a loss with constant Z_r. Both forwards move the statistics, forget first."""
  (loss, report), found = contrast(alone, pair_of(data, RETAIN, FORGET))
  params, stats, zeros = alone["params"], alone["batch_stats"], np.zeros((6, 4))
  z, moved, _ = pull_back(params, stats, data[0][FORGET], zeros)
  z_r, moved, _ = pull_back(params, moved, data[0][RETAIN], zeros)
  wanted, dz = to_retain(np.asarray(z), np.asarray(z_r))
  *_, grads = pull_back(params, stats, data[0][FORGET], dz)
  close((loss, found, report.batch_stats), (wanted, grads, moved))
  p = softmax(z @ z_r.T / HP["temperature"])
  through = ((p - 1 / 6) / 6).T @ z / HP["temperature"]  # what the stop leaves out
  *_, missing = pull_back(params, stats, data[0][RETAIN], through)
  assert jnp.abs(missing["head"]["kernel"]).max() > 1e-3


def test_padding_enters_neither_the_softmax_nor_the_means(data, alone):
  """Two padded columns and three padded rows: loss, gradient, statistics, accuracy as without."""
  x = data[0].copy()
  x[JUNK] *= 50
  padded = pair_of(
    (x, data[1]),
    np.concatenate([RETAIN, JUNK[:2]]),
    np.concatenate([FORGET, JUNK]),
    (jnp.array([1.0] * 6 + [0.0] * 2), jnp.array([1.0] * 6 + [0.0] * 3)),
  )
  close(contrast(alone, padded), contrast(alone, pair_of(data, RETAIN, FORGET)))


# Rates and settings


@pytest.mark.parametrize(
  ("fidelity", "eta_min", "ends"),
  [
    (REFERENCE, 1e-3, (0.01, 0.001)),
    (FIXED, 1e-3, (0.01, 0.001)),
    (REFERENCE, 0.05, (0.01, 0.05)),  # an annealing that rises
    (FIXED, 0.05, (0.01, 0.01)),
  ],
)
def test_the_forget_rate_falls_per_step_from_its_value_to_eta_min(fidelity, eta_min, ends):
  hp = {**HP, "eta_min": eta_min, "forget_steps": 2}
  schedule = fcs.forget_rate({"fidelity": fidelity})(hp, 2)
  rates = [float(schedule(jnp.asarray(k, jnp.int32))) for k in range(5)]
  shape = [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(5)]
  wanted = [ends[1] + (ends[0] - ends[1]) * s for s in shape]
  np.testing.assert_allclose(rates, wanted, rtol=1e-14)


def test_the_cosine_counts_forget_batches_even_where_pairs_stop_earlier():
  assert fcs.METHOD.derive(HP, {"retain": 10, "forget": 22}) == {"forget_steps": 3}
  assert fcs.METHOD.fidelity == REFERENCE


def test_settings_of_the_three_optimizers_may_be_given_in_groups():
  given = {
    "optimizer": {"learning_rate": 0.5},
    "forget_optimizer": {"weight_decay": 0.25},
    "retain_optimizer": {"momentum": 0.125},
  }
  wanted = {
    "learning_rate": 0.5,
    "forget_optimizer_weight_decay": 0.25,
    "retain_optimizer_momentum": 0.125,
  }
  assert fcs.METHOD.hyperparameters(given) == {**fcs.METHOD.defaults, **wanted}
  with pytest.raises(MethodError, match="fcs has no hyper-parameter 'forget_optimizer_nesterov'"):
    fcs.METHOD.hyperparameters({"forget_optimizer": {"nesterov": 1.0}})
  bound = fcs.METHOD.hyper["eta_min"].amended.at_most
  assert fcs.METHOD.hyper[bound].search is not None


def test_a_temperature_must_be_positive():
  with pytest.raises(
    MethodError, match=r"fcs: temperature must be a number at least 1e-06, got 0\.0"
  ):
    fcs.METHOD.hyperparameters({"temperature": 0.0})
