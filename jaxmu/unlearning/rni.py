"""RNI, repeated noise injection: train a few random layers per epoch, with noise, then all of them.

Solution 7 of the NeurIPS 2023 unlearning challenge (methods.md 6.7). A layer is a leaf of the
parameters: the kernel and the bias of the head are two.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxmu.errors import MethodError
from jaxmu.models import structure
from jaxmu.training import Pass, Phase, sgd
from jaxmu.training.method import BS, EP, LR, MOM, SIG, U01, WD, Distribution, Method
from jaxmu.training.objectives import classification
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
  trained: Any
  fine: jax.Array


def prepare(key, variables, view, hp):
  """Reset the head."""
  del hp
  params = variables["params"]
  head = structure.mask(params, lambda leaf: leaf.head, num_classes=view.task.num_classes)
  return {**variables, "params": draws.renew(key, view, "rni", params, head)}, ()


def unseen(params, aux, hp):
  """Return the memory of a model that has not trained yet."""
  del aux, hp
  trained = jax.tree.map(lambda _: jnp.ones((), bool), params)
  return Layers(jnp.zeros(len(jax.tree.leaves(params)), bool), trained, jnp.zeros((), bool))


def choose(key, view, variables, memory, epoch, aux, hp):
  """Before an epoch: draw its layers, and add noise to those among them that were never chosen."""
  del aux
  params, form = variables["params"], jax.tree.structure(variables["params"])
  always = np.array(jax.tree.leaves(structure.always_trained(**variables)))
  pool = jnp.asarray(np.flatnonzero(~always))
  layer_key, noise_key = jax.random.split(key)
  layers, noisy = select(layer_key, view, epoch, len(pool), hp)
  fine = epoch >= hp["num_epochs"] - hp["fine_num_epochs"]
  flags = lambda values: jnp.zeros(always.size, bool).at[pool[layers]].set(values)
  noisy = flags(noisy & ~fine & (epoch >= hp["reset_num_epochs"])) & ~memory.seen
  params = lax.cond(  # see cfw.add_noise
    jnp.any(noisy),
    lambda p: add_noise(noise_key, view, p, jax.tree.unflatten(form, list(noisy)), hp),
    lambda p: p,
    params,
  )
  chosen = flags(True)
  trained = jax.tree.unflatten(form, list(always | chosen | fine))
  return params, Layers(memory.seen | chosen, trained, fine)


def select(key, view, epoch, pool_size, hp):
  """Draw an epoch's layers, int [m] places in the pool, and which receive noise, bool [m]."""
  number = min(LAYERS, pool_size)
  keys = jax.random.split(key)
  layers, noisy = (_row(view, name, epoch, number) for name in ("layers", "noisy"))
  if layers is None:
    layers = jax.random.permutation(keys[0], pool_size)[:number]
  if noisy is None:
    noisy = jax.random.permutation(keys[1], number) < hp["noisy_layers"]
  return layers, noisy.astype(bool)


def _row(view, name, epoch, number):
  """Return an epoch's row of an injected table [epochs, m]; its last one where it is too short."""
  table = view.draws.get(name)
  if table is None:
    return None
  if jnp.ndim(table) != 2 or table.shape[1] != number:
    raise MethodError(f"rni: {name} must have shape (epochs, {number}), got {jnp.shape(table)}")
  return jnp.take(jnp.asarray(table), epoch, axis=0, mode="clip")


def add_noise(key, view, params, noisy, hp):
  """theta <- theta + sigma xi on the noisy leaves."""
  noise = draws.given(view, "rni", "noise", params)
  if noise is None:
    noise = draws.unit_normals(key, params, jax.tree.map(lambda _: True, params))
  std = lambda p: jnp.asarray(hp["origin_noise"], p.dtype)
  add = lambda p, xi, flag: jnp.where(flag, p + std(p) * xi, p)
  return jax.tree.map(add, params, noise, noisy)


def layer_sgd(hp, known):
  """SGD whose updates only reach the epoch's layers: no gradient, no decay elsewhere."""
  memory = known.memory
  either = lambda name: jnp.where(memory.fine, hp[f"fine_optimizer_{name}"], hp[name])
  transform = sgd(either("momentum"), either("weight_decay"))
  return optax.chain(transform, gate_updates(memory.trained))


def rate(hp, steps):
  """Constant, then fine epoch i at entry i of the fine rates."""
  rates = jnp.atleast_1d(hp["fine_optimizer_learning_rate"])

  def schedule(count):
    fine_epoch = count // steps - (hp["num_epochs"] - hp["fine_num_epochs"])
    fine = jnp.take(rates, fine_epoch, mode="clip")
    return jnp.where(fine_epoch >= 0, fine, hp["learning_rate"])

  return schedule


def derive(hp, sizes):
  """Count an epoch's noisy layers in double precision; check the list of rates."""
  del sizes
  rates, epochs = hp["fine_optimizer_learning_rate"], hp["fine_num_epochs"]
  if 1 < len(rates) < epochs:
    raise MethodError(
      f"rni: fine_optimizer_learning_rate holds {len(rates)} rates for {epochs} fine epochs; "
      "give one for each, or a single one"
    )
  return {"noisy_layers": int(LAYERS * hp["noise_ratio"])}


TRAIN_LAYERS = Pass(stream="retain", loss=classification, transform=layer_sgd, schedule=rate)

METHOD = Method(
  name="rni",
  title="Repeated noise injection",
  summary="Epoch by epoch train nine random layers, adding noise when they are first chosen; "
  "finally fine-tune everything on retain.",
  paper="NeurIPS 2023 unlearning challenge, rank 7",
  needs=frozenset({"retain"}),
  defaults={
    "num_epochs": 9,
    "fine_num_epochs": 4,
    "reset_num_epochs": 1,
    "noise_ratio": 0.7,
    "origin_noise": 0.04,
    "learning_rate": 2e-4,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "fine_optimizer_learning_rate": (2e-4, 2e-4, 2e-4, 1e-3, 1e-3, 1e-4),
    "fine_optimizer_momentum": 0.9,
    "fine_optimizer_weight_decay": 5e-4,
    "batch_size": 64,
  },
  space={
    "num_epochs": EP, "fine_num_epochs": EP, "reset_num_epochs": EP, "noise_ratio": U01,
    "origin_noise": SIG, "learning_rate": LR, "momentum": MOM, "weight_decay": WD,
    "fine_optimizer_learning_rate": LR, "fine_optimizer_momentum": MOM,
    "fine_optimizer_weight_decay": WD, "batch_size": BS,
  },
  amended={
    name: Distribution("integer", 1, None, at_most="num_epochs")
    for name in ("fine_num_epochs", "reset_num_epochs")
  },
  limits={
    "noise_ratio": (0, 1),
    "fine_num_epochs": (0, float("inf")),
    "reset_num_epochs": (0, float("inf")),
  },
  prepare=prepare,
  phases=lambda hp: (
    Phase("train layers", (TRAIN_LAYERS,), memory=unseen, before=choose, fresh=True),
  ),
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
)  # fmt: skip
