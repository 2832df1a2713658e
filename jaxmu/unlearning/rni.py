"""RNI, repeated noise injection: train a few random layers per epoch, with noise, then all of them.

Solution 7 of the NeurIPS 2023 unlearning challenge (methods.md 6.7). A layer is a leaf of the
parameters: the kernel and the bias of the head are two.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxmu.errors import MethodError
from jaxmu.models import structure
from jaxmu.settings.ranges import EPOCHS, Range
from jaxmu.training import Pass, Phase, Step, View, hyper, sgd
from jaxmu.training.hyper import Distribution, Hyper
from jaxmu.training.method import Method, Sizes
from jaxmu.training.objectives import classification
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.training.schedules import Schedule
from jaxmu.unlearning.parts import draws
from jaxmu.unlearning.parts.gates import gate_updates

LAYERS = 9  # drawn from the pool in every epoch


class Layers(NamedTuple):
  """What an epoch leaves to the next, and tells the optimizer.

  Attributes:
    seen: bool [L], leaves that an earlier epoch chose; they receive no noise any more.
    trained: tree like params of bool [], the leaves that this epoch trains.
    fine: bool [], True in the last epochs, which train everything.
  """

  seen: jax.Array
  trained: Tree
  fine: jax.Array


def prepare(variables: Variables, step: Step) -> tuple[Variables, tuple]:
  """Reset the head."""
  params, classes = variables["params"], step.options["num_classes"]
  head = structure.mask(params, lambda leaf: leaf.head, num_classes=classes)
  return {**variables, "params": draws.renew(step.key, step.view, "rni", params, head)}, ()


def unseen(params: Tree, step: Step) -> Layers:
  """Return the memory of a model that has not trained yet."""
  trained = jax.tree.map(lambda _: jnp.ones((), bool), params)
  return Layers(jnp.zeros(len(jax.tree.leaves(params)), bool), trained, jnp.zeros((), bool))


def choose(variables: Variables, step: Step) -> tuple[Tree, Layers]:
  """Before an epoch: draw its layers, and add noise to those among them that were never chosen."""
  hp, epoch, seen = step.hp, step.epoch, step.memory.seen
  params, form = variables["params"], jax.tree.structure(variables["params"])
  always = np.array(jax.tree.leaves(structure.always_trained(**variables)))
  pool = jnp.asarray(np.flatnonzero(~always))
  layer_key, noise_key = jax.random.split(step.key)
  layers, noisy = select(layer_key, step, len(pool))
  fine = epoch >= hp["num_epochs"] - hp["fine_num_epochs"]
  flags = lambda values: jnp.zeros(always.size, bool).at[pool[layers]].set(values)
  noisy = flags(noisy & ~fine & (epoch >= hp["reset_num_epochs"])) & ~seen
  params = lax.cond(  # see cfw.add_noise
    jnp.any(noisy),
    lambda p: add_noise(noise_key, step, p, jax.tree.unflatten(form, list(noisy))),
    lambda p: p,
    params,
  )
  chosen = flags(True)
  trained = jax.tree.unflatten(form, list(always | chosen | fine))
  return params, Layers(seen | chosen, trained, fine)


def select(key: Array, step: Step, pool_size: int) -> tuple[Array, Array]:
  """Draw an epoch's layers, int [m] places in the pool, and which receive noise, bool [m]."""
  number = min(LAYERS, pool_size)
  keys = jax.random.split(key)
  layers, noisy = (_row(step.view, name, step.epoch, number) for name in ("layers", "noisy"))
  if layers is None:
    layers = jax.random.permutation(keys[0], pool_size)[:number]
  if noisy is None:
    noisy = jax.random.permutation(keys[1], number) < step.hp["noisy_layers"]
  return layers, noisy.astype(bool)


def _row(view: View, name: str, epoch: Array, number: int) -> Array | None:
  """Return an epoch's row of an injected table [epochs, m]; its last one where it is too short."""
  table = view.draws.get(name)
  if table is None:
    return None
  if jnp.ndim(table) != 2 or table.shape[1] != number:
    raise MethodError(f"rni: {name} must have shape (epochs, {number}), got {jnp.shape(table)}")
  return jnp.take(jnp.asarray(table), epoch, axis=0, mode="clip")


def add_noise(key: Array, step: Step, params: Tree, noisy: Tree) -> Tree:
  """theta <- theta + sigma xi on the noisy leaves."""
  noise = draws.given(step.view, "rni", "noise", params)
  if noise is None:
    noise = draws.unit_normals(key, params, jax.tree.map(lambda _: True, params))
  std = lambda p: jnp.asarray(step.hp["origin_noise"], p.dtype)
  add = lambda p, xi, flag: jnp.where(flag, p + std(p) * xi, p)
  return jax.tree.map(add, params, noise, noisy)


def layer_sgd(step: Step) -> optax.GradientTransformation:
  """SGD whose updates only reach the epoch's layers: no gradient, no decay elsewhere."""
  hp, memory = step.hp, step.memory
  either = lambda name: jnp.where(memory.fine, hp[f"fine_optimizer_{name}"], hp[name])
  transform = sgd(either("momentum"), either("weight_decay"))
  return optax.chain(transform, gate_updates(memory.trained))


def rate(hp: Hp, steps: int) -> Schedule:
  """Constant, then fine epoch i at entry i of the fine rates."""
  rates = jnp.atleast_1d(hp["fine_optimizer_learning_rate"])

  def schedule(count: Array) -> Array:
    fine_epoch = count // steps - (hp["num_epochs"] - hp["fine_num_epochs"])
    fine = jnp.take(rates, fine_epoch, mode="clip")
    return jnp.where(fine_epoch >= 0, fine, hp["learning_rate"])

  return schedule


def derive(hp: Mapping[str, Any], sizes: Sizes) -> dict[str, int]:
  """Count an epoch's noisy layers in double precision; check the list of rates."""
  rates, epochs = hp["fine_optimizer_learning_rate"], hp["fine_num_epochs"]
  if 1 < len(rates) < epochs:
    raise MethodError(
      f"rni: fine_optimizer_learning_rate holds {len(rates)} rates for {epochs} fine epochs; "
      "give one for each, or a single one"
    )
  return {"noisy_layers": int(LAYERS * hp["noise_ratio"])}


def phases(options: Options) -> tuple[Phase, ...]:
  """Train an epoch's layers, chosen anew before every epoch, with a fresh optimizer."""
  step = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=classification,
    transform=layer_sgd,
    schedule=rate,
  )
  return (Phase("train layers", (step,), memory=unseen, before=choose, fresh=True),)


def among_epochs(default: int) -> Hyper:
  """Return a number of epochs, 0 or more, that is part of num_epochs."""
  within, amended = Range(0, EPOCHS.high), Distribution("integer", 1, None, at_most="num_epochs")
  return hyper.epochs(default, within=within, amended=amended)


METHOD = Method(
  name="rni",
  label="RNI",
  title="Repeated noise injection",
  summary="Epoch by epoch train nine random layers, adding noise when they are first chosen; "
  "finally fine-tune everything on retain.",
  paper="NeurIPS 2023 unlearning challenge, rank 7",
  needs=frozenset({"retain"}),
  hyper={
    "num_epochs": hyper.epochs(9),
    "fine_num_epochs": among_epochs(4),
    "reset_num_epochs": among_epochs(1),
    "noise_ratio": hyper.share(0.7),
    "origin_noise": hyper.strength(0.04),
    "learning_rate": hyper.rate(2e-4),
    "momentum": hyper.mom(0.9),
    "weight_decay": hyper.decay(5e-4),
    "fine_optimizer_learning_rate": hyper.rate((2e-4, 2e-4, 2e-4, 1e-3, 1e-3, 1e-4)),
    "fine_optimizer_momentum": hyper.mom(0.9),
    "fine_optimizer_weight_decay": hyper.decay(5e-4),
    "batch_size": hyper.batch(64),
  },
  prepare=prepare,
  phases=phases,
  derive=derive,
  oddities="A layer can receive noise only in the epoch that first chooses it. The BatchNorms of "
  "shortcuts are chosen, and receive noise, like any layer, those of other convolutions are always "
  "trained. With fine_num_epochs >= num_epochs no layer is ever chosen: the head is reset and "
  "everything fine-tuned.",
  draws={
    "fresh": "tree like params; its head leaves replace the drawn ones",
    "layers": "int [epochs, m], m = min(9, P): row e holds the leaves that epoch e chooses, as "
    "places 0 ... P-1 in the pool, which is jax.tree.leaves(params) without the leaves that are "
    "always trained (structure.always_trained), in that order; a missing row repeats the last",
    "noisy": "bool or 0/1 [epochs, m]: which of these leaves may receive noise",
    "noise": "tree like params of unit normal values; a leaf receives noise at most once in a run",
  },
)
