"""What the tests of SRL, SalUN and BT share: a tiny problem, and random labels as a loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu import models
from jaxmu.engine.population import member_keys
from jaxmu.execution import runner
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays
from jaxmu.unlearning import get
from support import problems

INDEX = {name: places[0] for name, places in problems.index().items() if name != "val"}
LABELS = np.random.default_rng(1).integers(0, problems.CLASSES, problems.SIZES["forget"])
ORDER = np.random.default_rng(2).permutation(32)  # of the 22 retain and 10 forget samples
# 32 samples of both sets in five batches of 6 and one of 2; 10 forget samples in batches of 6 and 4
HP = {
  "learning_rate": 0.05,
  "momentum": 0.9,
  "weight_decay": 0.05,
  "batch_size": 6,
  "num_epochs": 2,
}


def data():
  """Return x float64 [38, 6, 6, 1] and y [38]."""
  x, y = problems.samples()
  return x.astype(np.float64), y


def start():
  """Return initial weights with statistics that eval mode can be told from train mode by."""
  variables = problems.weights([1])
  stats = {"norm": {"mean": np.full((1, 4), 0.2), "var": np.full((1, 4), 1.5)}}
  return {"params": variables["params"], "batch_stats": stats}


def alone(tree):
  return jax.tree.map(lambda leaf: leaf[0], tree)


def view(shuffle=False, **draws):
  task = Task(problems.TinyNet(), problems.CLASSES, shuffle=shuffle)
  return View(task, Arrays(*map(jnp.asarray, data())), INDEX, draws)


def execute(name, hp, *, shuffle=False, fidelity=None, variables=None, **draws):
  """Run a method on one model; return (variables, losses [E, T], accuracies, rates).

  Hyper-parameters are not checked, so that a rate may be 0.
  """
  x, y = data()
  problem, legs = problems.problem(1, x=x, y=y, shuffle=shuffle), []
  outcome = runner.run(
    get(name),
    problem,
    start() if variables is None else variables,
    hp=[{**get(name).defaults, **hp}],
    keys=member_keys([3]),
    fidelity=fidelity,
    draws=jax.tree.map(lambda leaf: leaf[None], draws),
    on_leg=legs.append,
  )
  names = ("loss", "accuracy", "learning_rate")
  parts = [np.concatenate([getattr(leg.metrics, name) for leg in legs]) for name in names]
  return alone(problem.population.collect(outcome.variables)), *parts


@functools.partial(jax.jit, static_argnames="train")
def gradient(params, stats, x, y, train):
  """Return (cross-entropy, moved statistics) and gradient of one batch without padding."""

  def loss(params):
    logits, moved = models.forward(problems.TinyNet(), params, stats, x, train=train)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(y)), y]), moved

  return jax.value_and_grad(loss, has_aux=True)(params)


def cut(places, size):
  return [places[i : i + size] for i in range(0, len(places), size)]


def loop(visits, mask=None, gate=False):
  """Train on `visits` (positions in the data set) with LABELS on forget samples, batch by batch."""
  x, y = data()
  y = y.copy()
  y[INDEX["forget"]] = LABELS
  params, stats = alone(start()["params"]), alone(start()["batch_stats"])
  mask = jax.tree.map(np.ones_like, params) if mask is None else mask
  buffer, losses = jax.tree.map(np.zeros_like, params), []
  for _ in range(HP["num_epochs"]):
    for batch in cut(visits, HP["batch_size"]):
      (value, stats), grads = gradient(params, stats, x[batch], y[batch], train=True)
      losses.append(value)
      buffer = jax.tree.map(
        lambda b, g, m, p: HP["momentum"] * b + (jnp.where(m, g, 0) + HP["weight_decay"] * p),
        buffer,
        grads,
        mask,
        params,
      )
      params = jax.tree.map(
        lambda p, b, m: p - HP["learning_rate"] * jnp.where(m if gate else True, b, 0),
        params,
        buffer,
        mask,
      )
  return {"params": params, "batch_stats": stats}, np.array(losses)


def close(found, wanted, rtol=1e-9):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
  jax.tree.map(compare, found, wanted)
