"""MSG, masked small gradients: reset the weights on which retain and forget agree, then fine-tune.

Solution 2 of the NeurIPS 2023 unlearning challenge (methods.md 6.2).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmu.data import streams
from jaxmu.errors import MethodError
from jaxmu.models import structure, takes_mask
from jaxmu.models.initialisers import he_normal_out
from jaxmu.training import Pass, Phase, Step, View, heavy_ball, hyper, schedules
from jaxmu.training.method import FIXED, REFERENCE, Method, Sizes
from jaxmu.training.objectives import classification
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.unlearning.parts import draws
from jaxmu.unlearning.parts.gates import scale_by_mask
from jaxmu.unlearning.parts.gradient_sums import signed_gradients
from jaxmu.unlearning.parts.selection import count, smallest

SUBSET_BATCH = 64  # of the pass over R'; the reference does not tie it to the batch size
SLOW = 0.1  # gradient multiplier of kept weights


def prepare(variables: Variables, step: Step) -> tuple[Variables, Tree]:
  """Phases A and B: signed gradient G, per-kernel selection, re-initialisation.

  Returns:
    The variables with reset kernels and the BatchNorm statistics that phase A left, and the mask M:
    a tree like params, bool arrays on convolution kernels (True = re-initialised), True elsewhere.
  """
  params, init_rate = variables["params"], step.hp["init_rate"]
  subset_key, forget_key, fresh_key = jax.random.split(step.key, 3)
  sums, batch_stats = _signed_gradient(variables, step, subset_key, forget_key)
  convolutional = structure.mask(params, lambda leaf: leaf.kind == "conv")
  reset = jax.tree.map(
    lambda g, conv: smallest(jnp.abs(g), count(init_rate, g.size)) if conv else jnp.ones((), bool),
    sums,
    convolutional,
  )
  fresh = draws.given(step.view, "msg", "fresh", params)
  if fresh is None:
    fresh = _fresh(fresh_key, params, convolutional)
  renew = lambda old, new, mask, conv: jnp.where(mask, new.astype(old.dtype), old) if conv else old
  params = jax.tree.map(renew, params, fresh, reset, convolutional)
  return {"params": params, "batch_stats": batch_stats}, reset


def _signed_gradient(
  variables: Variables, step: Step, subset_key: Array, forget_key: Array
) -> tuple[Tree, Tree]:
  """G = sum over batches of R' of grad CE - sum over batches of D_f of grad CE, parameters fixed.

  R' is a random part of the retain set, as large as the forget set (see `_subset`). BatchNorm runs
  in train mode and its statistics move, first on retain, then on forget batches.
  """
  params, batch_stats = variables["params"], variables["batch_stats"]
  view, batch_size = step.view, step.options["batch_size"]
  places, number = _subset(view, subset_key)
  subset_batch = batch_size if step.options["fidelity"] == FIXED else SUBSET_BATCH
  pad = takes_mask(view.task.module)
  retain = view.positions(view.index["retain"][places], subset_batch, pad, number)
  forget = view.order("forget", forget_key, batch_size, pad)
  return signed_gradients(view, params, batch_stats, [(1, retain), (-1, forget)], forget_key)


def _subset(view: View, key: Array) -> tuple[Array, Array | None]:
  """Return the places of R' in the retain set and how many of them count, None for all.

  A member with smaller sets than others takes from the same draw: its own samples, in their order,
  until there are as many as its forget set has.
  """
  size, places = min(view.size("forget"), view.size("retain")), view.draws.get("subset")
  if places is not None:
    _check_subset(places, size)
  elif view.ragged:
    places = jax.random.permutation(key, view.size("retain"))
  else:
    places = jax.random.permutation(key, view.size("retain"))[:size]
  if not view.ragged:
    return places, None
  real = places < view.count("retain")
  fewest = jnp.minimum(view.count("forget"), view.count("retain"))
  return streams.first(places, real)[:size], jnp.minimum(fewest, jnp.sum(real))


def _check_subset(places: Array, size: int) -> None:
  """Raise MethodError unless a caller's R' holds that many whole numbers."""
  if places.shape != (size,):
    raise MethodError(f"msg: subset must hold {size} places, got shape {places.shape}")
  if not jnp.issubdtype(places.dtype, jnp.integer):
    raise MethodError(f"msg: subset must hold whole numbers, got {places.dtype}")


def _fresh(key: Array, params: Tree, convolutional: Tree) -> Tree:
  """Draw he_normal_out values for every convolution kernel."""
  leaves, tree = jax.tree.flatten(params)
  keys = jax.tree.unflatten(tree, list(jax.random.split(key, len(leaves))))
  draw = lambda leaf, k, conv: he_normal_out(k, leaf.shape, leaf.dtype) if conv else leaf
  return jax.tree.map(draw, params, keys, convolutional)


def masked_sgd(step: Step) -> optax.GradientTransformation:
  """Mask the raw gradient (1 on reset weights, 0.1 on kept ones), then decay and momentum."""
  multiplier = jax.tree.map(lambda m: jnp.where(m, 1.0, SLOW), step.aux)
  return optax.chain(scale_by_mask(multiplier), heavy_ball(step))


def phases(options: Options) -> tuple[Phase, ...]:
  """Phase C: fine-tune, the rate rising and falling."""
  step = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=classification,
    transform=masked_sgd,
    schedule=lambda hp, steps: schedules.triangle(hp["learning_rate"], hp["num_epochs"], steps),
  )
  return (Phase("masked fine-tune", (step,)),)


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Count the gradients over R' and the forget set."""
  return 3 * (min(sizes["forget"], sizes["retain"]) + sizes["forget"])


def inert(module: Any, params: Tree, options: Options) -> str:
  """Look for kernels to re-initialise."""
  some = any(jax.tree.leaves(structure.mask(params, lambda leaf: leaf.kind == "conv")))
  return "" if some else "convolution to re-initialise, and only fine-tunes"


METHOD = Method(
  name="msg",
  label="MSG",
  title="Masked small gradients",
  summary="Re-initialise the convolution weights with the smallest retain-minus-forget gradient, "
  "then fine-tune on retain with the others slowed down tenfold.",
  paper="NeurIPS 2023 unlearning challenge, rank 2",
  needs=frozenset({"retain", "forget"}),
  hyper={
    **hyper.training(learning_rate=1e-3, batch_size=64, num_epochs=5),
    "init_rate": hyper.share(0.3),
  },
  prepare=prepare,
  phases=phases,
  prepare_samples=work,
  inert=inert,
  fidelities=(REFERENCE, FIXED),
  oddities="The pass over R' always uses batches of 64 (reference, our default); 'fixed' uses the "
  "batch size.",
  draws={
    "subset": "int [min(n_forget, n_retain)], places within the retain set that form R'",
    "fresh": "tree like params; its convolution kernels replace the drawn ones",
  },
)
