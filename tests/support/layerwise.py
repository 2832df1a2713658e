"""A network with two blocks and every kind of leaf, and anchored fine-tuning of it by a loop."""

import dataclasses
from functools import partial

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmu import models
from jaxmu.engine.population import member_keys
from jaxmu.execution import runner
from jaxmu.models.layers import Conv, LayerNorm, Linear
from jaxmu.models.norm import BatchNorm
from jaxmu.training import Task
from jaxmu.unlearning import get
from support import problems

HP = {
  "learning_rate": 0.05,
  "sgda_decay_rate": 0.5,
  "sgda_weight_decay": 0.3,
  "batch_size": 8,  # 22 retain samples in batches of 8, 8 and 6
  "num_epochs": 3,
}


class Attention(nn.Module):
  """What matters of an attention layer here: it has a table of biases."""

  @nn.compact
  def __call__(self, x):
    shape = (2, x.shape[-1] // 2)
    table = self.param("attention_biases", nn.initializers.normal(), shape, x.dtype)
    return x + jnp.tanh(table.reshape(1, 1, 1, -1))


class Blocks(nn.Module):
  """Blocks 1 and 2 between a stem and a head, each with batch normalisation.

  `first` switches by hand what an interceptor does: BatchNorm runs in train mode from this block on
  (the stem's is number 0), whatever the call says.
  """

  first: int | None = None

  @nn.compact
  def __call__(self, x, train=False, mask=None):
    norm = lambda x, name, block: BatchNorm(name=name)(
      x, train=train if self.first is None else block >= self.first, mask=mask
    )
    x = jnp.tanh(norm(Conv(4, 3, 2, 1, name="stem")(x), "stem_norm", 0))
    x = jnp.tanh(norm(Conv(4, 1, name="stage1_conv")(x), "stage1_norm", 1))
    x = LayerNorm(name="stage2_layer_norm", param_dtype=x.dtype)(x)
    x = Attention(name="stage2_attention")(x)
    x = nn.Dense(6, name="stage2_dense", param_dtype=x.dtype)(x)
    x = jnp.tanh(norm(x, "stage2_norm", 2))
    x = LayerNorm(name="norm", param_dtype=x.dtype)(x.mean((1, 2)))
    return Linear(problems.CLASSES, name="head")(x)


def weights(module=None, seed=0):
  """Return float64 variables [1, ...], no leaf with values that a reset would give."""
  made = jax.jit((module or Blocks()).init)(jax.random.key(seed), jnp.zeros((1, 6, 6, 1)))
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda leaf: (leaf + rng.uniform(0.1, 0.4, leaf.shape))[None], dict(made))


def samples():
  x, y = problems.samples()
  return x.astype(np.float64), y


def run(name, start, *hp, module=None, fidelity=None, shuffle=False, draws=None):
  """Run one member per mapping of hyper-parameters; returns (variables [K, ...], legs).

  Their values are not checked, so that a rate may be 0.
  """
  x, y = samples()
  problem = problems.problem(len(hp), x=x, y=y)
  problem = dataclasses.replace(
    problem, task=Task(module or Blocks(), problems.CLASSES, shuffle=shuffle)
  )
  method, legs = get(name), []
  many = lambda leaf: np.repeat(leaf, len(hp), 0)
  outcome = runner.run(
    method,
    problem,
    jax.tree.map(many, start),
    hp=[{**method.defaults, **given} for given in hp],
    keys=member_keys([5] * len(hp)),
    fidelity=fidelity,
    on_leg=legs.append,
    draws={n: jax.tree.map(lambda leaf: many(leaf[None]), d) for n, d in (draws or {}).items()},
  )
  return problem.population.collect(outcome.variables), legs


def member(tree, k):
  return jax.tree.map(lambda leaf: leaf[k], tree)


def in_last_blocks(start, k):
  """Return path -> whether a leaf belongs to the last k of two blocks or to the head, by name."""
  first = {1: "stage2", 2: "stage1"}[min(k, 2)]
  names = [path[0] for path in flax.traverse_util.flatten_dict(start["params"])]
  chosen = {n for n in names if n == "head" or (n.startswith("stage") and n >= first)}
  return {p: p[0] in chosen for p in flax.traverse_util.flatten_dict(start["params"])}


@partial(jax.jit, static_argnames=("module", "train"))
def gradient(params, stats, x, y, module, train):
  """Return mean cross-entropy, new statistics and the gradient, on a batch without padding."""

  def loss(params):
    logits, new = models.forward(module, params, stats, x, train=train)
    chosen = logits[jnp.arange(len(y)), y]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen), new

  return jax.value_and_grad(loss, has_aux=True)(params)


def naive(start, hp, *, module, train, frozen=("attention_biases",)):
  """Anchored fine-tuning in stored order by the text of methods.md 3, leaf by leaf.

  Returns:
    (params, statistics, losses, rates).
  """
  x, y = samples()
  places, size = problems.index()["retain"][0], hp["batch_size"]
  params, stats = member(start["params"], 0), member(start["batch_stats"], 0)
  moving = [
    path
    for path, inside in in_last_blocks(start, hp["num_blocks"]).items()
    if inside and path[-1] not in frozen
  ]
  anchor = flax.traverse_util.flatten_dict(params)
  losses, rates = [], []
  for e in range(hp["num_epochs"]):
    passed = sum(hp["num_epochs"] * part // 10 < e for part in (5, 8, 9))
    rate = hp["learning_rate"] * hp["sgda_decay_rate"] ** passed
    for i in range(0, len(places), size):
      batch = places[i : i + size]
      (loss, stats), grads = jax.device_get(
        gradient(params, stats, x[batch], y[batch], module, train)
      )
      flat, grads = (flax.traverse_util.flatten_dict(tree) for tree in (params, grads))
      pulls = {path: flat[path] - anchor[path] for path in moving}
      omega = hp["sgda_weight_decay"]
      losses.append(loss + omega / 2 * sum(np.sum(np.square(p)) for p in pulls.values()))
      rates.append(rate)
      for path, pull in pulls.items():
        flat[path] = flat[path] - rate * (grads[path] + omega * pull)
      params = flax.traverse_util.unflatten_dict(flat)
  return params, stats, np.array(losses), np.array(rates)


def reported(legs, k=0):
  """Return the losses and learning rates of a member, of all steps in turn."""
  return (
    np.concatenate([leg.metrics.loss[k] for leg in legs]),
    np.concatenate([leg.metrics.learning_rate[k] for leg in legs]),
  )


def close(found, wanted):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
  jax.tree.map(compare, found, wanted)
